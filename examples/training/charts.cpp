#include "examples/training/charts.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <map>

#include "examples/text/unicode.h"
#include "examples/training/task.h"

namespace training {
namespace {

const std::vector<std::string> colours = {blue,      orange,    "#1a8a5a", "#8a4fa8", "#b8860b",
                                          "#c2385a", "#0f8b9d", "#5b5f66", "#7c2d12", "#d0409c"};

// At most `count` points, each the mean of as many neighbours: no screen shows more, and the file stays small.
std::vector<Point> thin(const std::vector<Point>& points, size_t count) {
  std::vector<Point> finite, means;
  for (const Point& p : points)
    if (std::isfinite(p.x) && std::isfinite(p.y)) finite.push_back(p);
  const size_t run = (finite.size() + count - 1) / count;
  for (size_t i = 0; i < finite.size(); i += run) {
    const size_t n = std::min(run, finite.size() - i);
    Point mean{0, 0};
    for (size_t k = i; k < i + n; ++k) mean = {mean.x + finite[k].x / n, mean.y + finite[k].y / n};
    means.push_back(mean);
  }
  return means;
}

// --- Scales -------------------------------------------------------------------------------------------------------

// The largest 1, 2 or 5 times a power of ten that cuts `range` into at least `parts`.
double nice_step(double range, int parts) {
  const double power = std::pow(10, std::floor(std::log10(range / parts))), lead = range / parts / power;
  return power * (lead >= 5 ? 5 : lead >= 2 ? 2 : 1);
}

// Maps values to [0, 1], with ticks.
struct Scale {
  double low, high;  // logarithms if so
  bool logarithmic;
  std::vector<double> ticks;

  double operator()(double value) const { return ((logarithmic ? std::log10(value) : value) - low) / (high - low); }
};

Scale linear_scale(double low, double high) {
  if (low > high || (low == 0 && high == 0)) low = 0, high = 1;                           // nothing to show
  if (low == high) low -= std::abs(low) / 10 + 1e-9, high += std::abs(high) / 10 + 1e-9;  // a single value
  const double step = nice_step(high - low, 3);
  Scale scale{step * std::floor(low / step + 1e-9), step * std::ceil(high / step - 1e-9), false, {}};
  for (double k = std::round(scale.low / step); k * step < scale.high + step / 2; ++k) scale.ticks.push_back(k * step);
  return scale;
}

// Ticks at powers of ten, for up to two of them also at 2 and 5 times these.
Scale log_scale(double low, double high) {
  Scale scale{std::floor(std::log10(low)), std::ceil(std::log10(high)), true, {}};
  const double decades = scale.high - scale.low, step = std::ceil(decades / 6);
  for (double k = scale.low; k <= scale.high; k += step)
    for (const double lead : {1, 2, 5})
      if ((lead == 1 || decades <= 2) && std::log10(lead) + k <= scale.high)
        scale.ticks.push_back(lead * std::pow(10, k));
  return scale;
}

std::string thousands(double value) {
  std::string digits = format("%.0f", value);
  for (int at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3) digits.insert(at, 1, ',');
  return digits;
}

// --- A panel ------------------------------------------------------------------------------------------------------

struct Curve {
  std::string label;  // at its right end, in its colour
  std::vector<Point> points;
  std::string colour;
  bool dots = false;
};

struct Frame {
  double x, y, width, height;
  double last;            // the end of the abscissa
  double labels;          // the width left for them
  bool doubling = false;  // the abscissa is logarithmic, from 1
};

// Where x is along the abscissa, in [0, 1].
double along(const Frame& frame, double x) {
  const double last = std::max(frame.last, frame.doubling ? 2.0 : 1.0);
  return frame.doubling ? std::log2(std::max(x, 1.0)) / std::log2(last) : x / last;
}

std::vector<double> abscissa_ticks(const Frame& frame, double width) {
  std::vector<double> ticks;
  const double last = std::max(frame.last, 1.0), step = std::max(nice_step(last, width < 400 ? 2 : 4), 1.0);
  for (double x = frame.doubling ? 1 : 0; x < last * (1 + 1e-9); x = frame.doubling ? 2 * x : x + step)
    ticks.push_back(x);
  return ticks;
}

// Labels want to be at these heights. Moves them apart, by as little as may be, within [top, bottom].
std::vector<double> spread(const std::vector<double>& wanted, double gap, double top, double bottom) {
  std::vector<size_t> order(wanted.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return wanted[a] < wanted[b]; });
  gap = order.size() > 1 ? std::min(gap, (bottom - top) / static_cast<double>(order.size() - 1)) : gap;
  std::vector<double> at = wanted;
  for (size_t k = 0; k < order.size(); ++k) at[order[k]] = std::max(at[order[k]], k ? at[order[k - 1]] + gap : top);
  for (size_t k = order.size(); k-- > 0;)
    at[order[k]] = std::min(at[order[k]], k + 1 < order.size() ? at[order[k + 1]] - gap : bottom);
  return at;
}

// Curves within `frame`, their title above and labels at their right.
void draw_panel(Svg& svg, const Frame& frame, const std::string& title, std::vector<Curve> curves, Ordinate ordinate) {
  double low = ordinate == Ordinate::from_zero ? 0 : INFINITY, high = -INFINITY;
  for (Curve& curve : curves) {
    curve.points = thin(curve.points, 300);
    if (ordinate == Ordinate::loss)  // no loss is 0 but by rounding
      std::erase_if(curve.points, [](const Point& p) { return p.y <= 0; });
    for (const auto& [x, y] : curve.points) low = std::min(low, y), high = std::max(high, y);
  }
  const bool logarithmic = ordinate == Ordinate::loss && low > 0 && high / low > 30;
  const Scale scale = logarithmic ? log_scale(low, high) : linear_scale(low, high);
  const double left = frame.x + 56, top = frame.y + 30, width = frame.width - 68 - frame.labels,
               height = frame.height - 62;
  const auto place = [&](Point p) { return Point{left + width * along(frame, p.x), top + height * (1 - scale(p.y))}; };

  svg.text(frame.x + 12, frame.y + 14, 13, ink, title + (logarithmic ? " (logarithmic)" : ""), bold);
  for (const double y : scale.ticks) {
    const double at = top + height * (1 - scale(y));
    svg.line({{left, at}, {left + width, at}}, grid, 1);
    svg.text(left - 8, at + 4, 11, muted, format("%.4g", y), right);
  }
  for (const double x : abscissa_ticks(frame, width)) {
    const double at = left + width * along(frame, x);
    svg.line({{at, top + height}, {at, top + height + 4}}, muted, 1);
    svg.text(at, top + height + 18, 11, muted, thousands(x), centred);
  }
  svg.line({{left, top + height}, {left + width, top + height}}, muted, 1);

  std::vector<double> heights;
  for (Curve& curve : curves) {
    for (Point& p : curve.points) p = place(p);
    heights.push_back(curve.points.empty() ? top : curve.points.back().y);
    svg.line(curve.points, curve.colour, 1.8);
    if (curve.dots || curve.points.size() == 1)
      for (const Point& p : curve.points) svg.dot(p, curve.colour, 3);
  }
  heights = spread(heights, 12, top, top + height);
  for (size_t i = 0; i < curves.size(); ++i) {
    if (curves[i].points.empty()) continue;
    const Point end = curves[i].points.back();
    // A thin line leads from where the curve ends to its label, which may have had to move.
    if (!curves[i].label.empty())
      svg.line({{end.x + 4, end.y}, {left + width + 10, heights[i]}}, curves[i].colour, 0.4);
    svg.text(left + width + 13, heights[i] + 4, 11, curves[i].colour, curves[i].label);
  }
}

// --- Lambda -------------------------------------------------------------------------------------------------------

// "decoder.layers.0.cross_attn" -> "decoder cross" and 0; "layers.0.self_attn" -> "self" and 0.
std::pair<std::string, int> stack_and_layer(const std::string& name) {
  const size_t digits = name.find_first_of("0123456789"), layers = name.find("layers.");
  if (layers == std::string::npos || layers + 7 != digits || (layers > 0 && name[layers - 1] != '.')) return {name, 0};
  size_t end = digits;
  while (end < name.size() && std::isdigit(static_cast<unsigned char>(name[end]))) ++end;
  std::string kind = name.substr(std::min(end + 1, name.size()));
  if (kind.ends_with("_attn")) kind.resize(kind.size() - 5);
  return {(layers > 0 ? name.substr(0, layers - 1) + " " : "") + kind,
          std::stoi(name.substr(digits, std::min<size_t>(end - digits, 6)))};
}

// The first colour for the first layer, the last for the last.
std::string shade(const std::vector<std::array<int, 3>>& ends, double at) {
  std::string text = "#";
  for (int c = 0; c < 3; ++c) {
    char hex[8];
    std::snprintf(hex, sizeof hex, "%02x", static_cast<int>(std::lround(ends[0][c] + at * (ends[1][c] - ends[0][c]))));
    text += hex;
  }
  return text;
}

// A hue for each stack of attentions, darker with depth; a curve's label is its layer, from 1.
void draw_lambda(Svg& svg, const Frame& frame, const std::vector<Series>& lambda) {
  static const std::vector<std::vector<std::array<int, 3>>> hues = {
      {{90, 145, 210}, {20, 60, 130}}, {{85, 170, 115}, {10, 95, 55}}, {{232, 145, 75}, {165, 70, 5}}};
  std::map<std::string, int> deepest;
  std::vector<std::string> stacks;
  for (const Series& series : lambda) {
    const auto [stack, layer] = stack_and_layer(series.label);
    if (!deepest.count(stack)) stacks.push_back(stack);
    deepest[stack] = std::max(deepest[stack], layer);
  }
  std::vector<Curve> curves;
  for (const Series& series : lambda) {
    const auto [stack, layer] = stack_and_layer(series.label);
    const size_t hue = std::find(stacks.begin(), stacks.end(), stack) - stacks.begin();
    const double depth = deepest[stack] ? static_cast<double>(layer) / deepest[stack] : 1;
    curves.push_back({std::to_string(layer + 1), series.points, shade(hues[hue % hues.size()], depth)});
  }
  draw_panel(svg, frame, "λ by layer", curves, Ordinate::free);
  double x = frame.x + 96;
  for (size_t i = 0; i < stacks.size(); ++i) {
    const std::string colour = shade(hues[i % hues.size()], 0.6);
    svg.dot({x, frame.y + 10}, colour, 4);
    svg.text(x + 8, frame.y + 14, 11, colour, stacks[i]);
    x += 22 + text_width(stacks[i], 10);
  }
}

// The last update of any of them.
double last_update(const std::vector<std::vector<Point>>& all) {
  double last = 0;
  for (const auto& points : all)
    for (const Point& p : points) last = std::isfinite(p.x) ? std::max(last, p.x) : last;
  return last;
}

// A label that says where its curve ends.
std::string with_last(const std::string& name, const std::vector<Point>& points, const char* pattern) {
  const auto last = std::find_if(points.rbegin(), points.rend(), [](const Point& p) { return std::isfinite(p.y); });
  return last == points.rend() ? name : name + " " + format(pattern, last->y);
}

}  // namespace

std::string training_chart(const std::string& title, const TrainingHistory& h) {
  constexpr double width = 800, height = 580, panel_width = 392, panel_height = 258;
  Svg svg(width, height);
  svg.text(20, 30, 16, ink, title, bold);
  const double updates = last_update({h.train_loss, h.valid_loss});
  const auto frame = [&](int column, int row) {
    return Frame{8 + column * panel_width,  46 + row * (panel_height + 6), panel_width, panel_height, updates,
                 column == 0 ? 106.0 : 16.0};
  };
  draw_panel(svg, frame(0, 0), "loss per target token",
             {{with_last("training", h.train_loss, "%#.3g"), h.train_loss, blue},
              {with_last("validation", h.valid_loss, "%#.3g"), h.valid_loss, orange, true}},
             Ordinate::loss);
  draw_panel(svg, frame(1, 0), "learning rate", {{"", h.learning_rate, blue}}, Ordinate::from_zero);
  std::vector<Curve> figures;
  for (const Series& f : h.figures)
    figures.push_back(
        {with_last(figure_name(f.label), f.points, "%.1f"), f.points, colours[figures.size() % colours.size()], true});
  draw_panel(svg, frame(0, 1), "validation, %", figures, Ordinate::from_zero);
  if (h.lambda.empty())
    draw_panel(svg, frame(1, 1), "gradient norm", {{"", h.gradient_norm, blue}}, Ordinate::from_zero);
  else
    draw_lambda(svg, frame(1, 1), h.lambda);
  svg.text(width / 2, height - 12, 12, muted, "update", centred);
  return svg.finish();
}

namespace {

// Cut at its beginning, to be no wider: of a path the end tells more.
std::string shortened(std::string label, double width) {
  if (text_width(label, 11) <= width) return label;
  while (!label.empty() && text_width("…" + label, 11) > width) do
      label.erase(0, 1);
    while (!label.empty() && !text::begins_character(label[0]));
  return "…" + label;
}

// One panel with a labelled curve for each of `all`.
std::string curves_chart(const std::string& title, const std::string& abscissa, const std::vector<Series>& all,
                         Ordinate ordinate, const char* pattern, bool doubling) {
  constexpr double width = 800, height = 440;
  Svg svg(width, height);
  std::vector<Curve> curves;
  Frame frame{8, 16, width - 16, height - 34, 0, 0, doubling};
  for (size_t i = 0; i < all.size(); ++i) {
    const std::string label = shortened(with_last(all[i].label, all[i].points, pattern), width / 2);
    curves.push_back({label, all[i].points, colours[i % colours.size()], true});
    frame.last = std::max(frame.last, last_update({all[i].points}));
    frame.labels = std::max(frame.labels, text_width(curves.back().label, 11));
  }
  draw_panel(svg, frame, title, curves, ordinate);
  svg.text(width / 2, height - 12, 12, muted, abscissa, centred);
  return svg.finish();
}

}  // namespace

std::string comparison_chart(const std::vector<Series>& runs, const std::string& title, Ordinate ordinate,
                             const char* pattern) {
  return curves_chart(title, "update", runs, ordinate, pattern, false);
}

std::string position_chart(const std::vector<Series>& models, const std::string& title, const char* pattern) {
  return curves_chart(title, "position in the context (logarithmic): tokens that are there to predict from", models,
                      Ordinate::free, pattern, true);
}

}  // namespace training
