#include "examples/translate/charts.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <sstream>
#include <stdexcept>

namespace translate {
namespace {

// Blue for what is measured and large, orange for its counterpart: told apart also by the colour-blind.
constexpr const char *ink = "#1f2937", *muted = "#6b7280", *grid = "#e5e7eb", *blue = "#2563b0", *pale_blue = "#a9c7ea",
                     *orange = "#e0752d";

std::string escape(const std::string& text) {
  std::string safe;
  for (const char c : text) switch (c) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      case '"':
        safe += "&quot;";
        break;
      case '\t':
        safe += "⇥";
        break;
      // XML has no control characters.
      default:
        safe += static_cast<unsigned char>(c) < ' ' ? "�" : std::string(1, c);
    }
  return safe;
}

std::string format(const char* pattern, double value) {
  char text[64];
  std::snprintf(text, sizeof text, pattern, value);
  return text;
}

// SVG elements in the order they are drawn, on a white card: readable on a light page as on a dark one.
class Svg {
 public:
  Svg(double width, double height) {
    out_.precision(7);
    out_ << "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" << width << "\" height=\"" << height
         << "\" viewBox=\"0 0 " << width << ' ' << height
         << "\" font-family=\"'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans', sans-serif\">\n"
         << "<rect x=\"0.5\" y=\"0.5\" width=\"" << width - 1 << "\" height=\"" << height - 1
         << "\" rx=\"8\" fill=\"#ffffff\" stroke=\"" << grid << "\"/>\n";
  }
  void text(double x, double y, int size, const char* colour, const std::string& words, const std::string& more = {}) {
    out_ << "<text x=\"" << x << "\" y=\"" << y << "\" font-size=\"" << size << "\" fill=\"" << colour << "\" " << more
         << '>' << escape(words) << "</text>\n";
  }
  void rect(double x, double y, double width, double height, const std::string& fill, const std::string& more = {}) {
    out_ << "<rect x=\"" << x << "\" y=\"" << y << "\" width=\"" << width << "\" height=\"" << height << "\" fill=\""
         << fill << "\" " << more << "/>\n";
  }
  void line(const std::vector<Point>& points, const char* colour, double width) {
    out_ << "<polyline fill=\"none\" stroke=\"" << colour << "\" stroke-width=\"" << width
         << "\" stroke-linejoin=\"round\" stroke-linecap=\"round\" points=\"";
    out_.precision(5);
    for (const auto& [x, y] : points) out_ << x << ',' << y << ' ';
    out_.precision(7);
    out_ << "\"/>\n";
  }
  void dot(Point at, const char* colour) {
    out_ << "<circle cx=\"" << at.x << "\" cy=\"" << at.y << "\" r=\"3.5\" fill=\"" << colour
         << "\" stroke=\"#ffffff\"/>\n";
  }
  std::string finish() {
    out_ << "</svg>\n";
    return out_.str();
  }

 private:
  std::ostringstream out_;
};

constexpr const char *right = "text-anchor=\"end\"", *centred = "text-anchor=\"middle\"", *bold = "font-weight=\"600\"";

// --- The loss chart -----------------------------------------------------------------------------------------------

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

// The mean over a centred window, which shrinks towards the ends so that the curve keeps its place.
std::vector<Point> smooth(std::vector<Point> points, size_t reach) {
  const std::vector<Point> raw = points;
  for (size_t i = 0; i < raw.size(); ++i) {
    const size_t r = std::min({reach, i, raw.size() - 1 - i});
    double sum = 0;
    for (size_t k = i - r; k <= i + r; ++k) sum += raw[k].y;
    points[i].y = sum / (2 * r + 1);
  }
  return points;
}

// The largest 1, 2 or 5 times a power of ten that cuts `range` into at least 4 parts.
double nice_step(double range) {
  const double power = std::pow(10, std::floor(std::log10(range / 4))), lead = range / 4 / power;
  return power * (lead >= 5 ? 5 : lead >= 2 ? 2 : 1);
}

std::string thousands(double value) {
  std::string digits = format("%.0f", value);
  for (int at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3) digits.insert(at, 1, ',');
  return digits;
}

// --- The attention figure -----------------------------------------------------------------------------------------

using Colour = std::array<double, 3>;
const std::vector<Colour> sequential = {
    {246, 248, 251}, {201, 221, 240}, {113, 168, 216}, {43, 108, 180}, {12, 52, 106}};
const std::vector<Colour> diverging = {{158, 61, 8},    {226, 120, 48}, {249, 196, 150}, {246, 248, 251},
                                       {160, 200, 232}, {52, 118, 188}, {12, 52, 106}};

// The colour at `at` in [0, 1] between the ramp's; what is not a number is at 0.
std::string colour_at(const std::vector<Colour>& ramp, double at) {
  const double place = (at > 0 ? std::min(at, 1.0) : 0) * (ramp.size() - 1);
  const size_t i = std::min(static_cast<size_t>(place), ramp.size() - 2);
  const auto mix = [&](int c) { return std::lround(ramp[i][c] + (place - i) * (ramp[i + 1][c] - ramp[i][c])); };
  char text[64];
  std::snprintf(text, sizeof text, "#%02lx%02lx%02lx", mix(0), mix(1), mix(2));
  return text;
}

// The largest magnitude.
double largest(const std::vector<float>& values) {
  double most = 1e-6;  // a map of zeros has a scale, too
  for (const float v : values)
    if (std::isfinite(v)) most = std::max(most, std::abs(static_cast<double>(v)));
  return most;
}

// A token as a label: SentencePiece's "▁" for a space is a heavy block in most fonts.
std::string label_of(const std::string& piece) { return piece.starts_with("▁") ? "·" + piece.substr(3) : piece; }

// A guess at the width of the widest label: half an em and a bit for each character.
double label_width(const std::vector<std::string>& labels, double size) {
  const auto begins_character = [](char c) { return (c & 0xC0) != 0x80; };
  int64_t most = 0;
  for (const std::string& label : labels)
    most = std::max<int64_t>(most, std::count_if(label.begin(), label.end(), begins_character));
  return 0.62 * size * most;
}

}  // namespace

std::string loss_chart(const std::string& title, const std::vector<Point>& train, const std::vector<Point>& valid) {
  constexpr double width = 760, height = 420, left = 64, top = 72, plot_width = 632, plot_height = 288;
  const std::vector<Point> faint = thin(train, 600), strong = smooth(faint, 12), marks = thin(valid, 200);
  double x_max = 1, y_low = INFINITY, y_high = -INFINITY;
  for (const auto* series : {&faint, &marks})
    for (const auto& [x, y] : *series)
      x_max = std::max(x_max, x), y_low = std::min(y_low, y), y_high = std::max(y_high, y);
  if (y_low > y_high) y_low = 0, y_high = 1;     // nothing to show
  if (y_low == y_high) y_low -= 1, y_high += 1;  // a single value
  const double x_step = std::max(nice_step(x_max), 1.0), y_step = nice_step(y_high - y_low);
  y_low = y_step * std::floor(y_low / y_step);
  y_high = y_step * std::ceil(y_high / y_step);
  const auto place = [&](Point p) {
    return Point{left + plot_width * p.x / x_max, top + plot_height * (y_high - p.y) / (y_high - y_low)};
  };
  const auto placed = [&](std::vector<Point> points) {
    for (Point& p : points) p = place(p);
    return points;
  };

  Svg svg(width, height);
  svg.text(24, 34, 16, ink, title, bold);
  svg.text(left - 10, top - 14, 12, muted, "loss", right);
  for (double y = y_low; y < y_high + y_step / 2; y += y_step) {
    const double at = place({0, y}).y;
    svg.line({{left, at}, {left + plot_width, at}}, grid, 1);
    svg.text(left - 10, at + 4, 12, muted, format("%.4g", std::abs(y) < y_step / 2 ? 0 : y), right);
  }
  for (double x = 0; x < x_max * (1 + 1e-9); x += x_step) {
    const double at = place({x, 0}).x;
    svg.line({{at, top + plot_height}, {at, top + plot_height + 5}}, muted, 1);
    svg.text(at, top + plot_height + 21, 12, muted, thousands(x), centred);
  }
  svg.line({{left, top + plot_height}, {left + plot_width, top + plot_height}}, muted, 1);
  svg.text(left + plot_width / 2, height - 14, 12, muted, "update", centred);

  svg.line(placed(faint), pale_blue, 1);
  svg.line(placed(strong), blue, 2);
  svg.line(placed(marks), orange, 1.5);
  for (const Point& p : marks) svg.dot(place(p), orange);
  if (!marks.empty())
    svg.text(left + plot_width + 9, place(marks.back()).y + 4, 12, orange, format("%.2f", marks.back().y), bold);

  double legend = left + plot_width - 176;
  svg.line({{legend, 54}, {legend + 22, 54}}, blue, 2);
  svg.text(legend + 29, 58, 12, ink, "training");
  legend += 92;
  svg.line({{legend, 54}, {legend + 22, 54}}, orange, 1.5);
  svg.dot({legend + 11, 54}, orange);
  svg.text(legend + 29, 58, 12, ink, "validation");
  return svg.finish();
}

std::string attention_chart(const AttentionFigure& figure) {
  const size_t rows = figure.queries.size(), columns = figure.keys.size();
  for (const auto* map : {&figure.a1, &figure.a2, &figure.difference})
    if (rows * columns == 0 || map->size() != rows * columns)
      throw std::invalid_argument("attention_chart: a map of " + std::to_string(map->size()) + " elements for " +
                                  std::to_string(rows) + " queries and " + std::to_string(columns) + " keys");

  // Long sentences get smaller cells; their labels shrink with them.
  const double cell = std::clamp(std::floor(420.0 / std::max(rows, columns)), 10.0, 26.0);
  const int label = static_cast<int>(std::clamp(cell * 0.75, 8.0, 12.0));
  // Column labels lean 60 degrees to the right, so the last one leans out of its panel.
  const double lean = label_width(figure.keys, label), map_width = cell * columns, map_height = cell * rows;
  const double left = 32 + label_width(figure.queries, label), top = 108 + 0.87 * lean, scale_width = 144;
  const double pitch = std::max(map_width, scale_width) + std::max(32.0, 0.5 * lean);  // from panel to panel
  const double width = std::max(left + 3 * pitch, 48 + label_width({figure.title}, 17));
  const double attention_scale = std::max(largest(figure.a1), largest(figure.a2));
  const double difference_scale = largest(figure.difference);

  Svg svg(width, top + map_height + 62);
  svg.text(24, 34, 16, ink, figure.title, bold);
  svg.text(24, 56, 12, muted, "each row attends to the columns; λ = " + format("%.3f", figure.lambda));

  const auto panel = [&](int index, const std::string& name, const std::vector<float>& map, double low, double high,
                         const std::vector<Colour>& ramp) {
    const double x = left + index * pitch;
    const auto colour = [&](double value) { return colour_at(ramp, (value - low) / (high - low)); };
    svg.text(x, 88, 14, ink, name, bold);
    for (size_t j = 0; j < columns; ++j) {
      const double at = x + (j + 0.5) * cell + 0.3 * label;
      svg.text(at, top - 6, label, ink, label_of(figure.keys[j]),
               "transform=\"rotate(-60 " + format("%.1f", at) + format(" %.1f)\"", top - 6));
    }
    svg.rect(x, top, map_width, map_height, grid);
    for (size_t i = 0; i < rows; ++i) {
      if (index == 0)
        svg.text(x - 8, top + (i + 0.5) * cell + 0.36 * label, label, ink, label_of(figure.queries[i]), right);
      for (size_t j = 0; j < columns; ++j)
        svg.rect(x + j * cell + 0.5, top + i * cell + 0.5, cell - 1, cell - 1, colour(map[i * columns + j]));
    }
    // The scale, in the cells' own colours.
    constexpr int bars = 48;
    const double bar = scale_width / bars, below = top + map_height + 16;
    for (int b = 0; b < bars; ++b)
      svg.rect(x + b * bar, below, bar + 0.3, 8, colour(low + (high - low) * b / (bars - 1)),
               "shape-rendering=\"crispEdges\"");
    svg.text(x, below + 23, 11, muted, format(low < 0 ? "−%.2f" : "%.0f", std::abs(low)));
    if (low < 0) svg.text(x + scale_width / 2, below + 23, 11, muted, "0", centred);
    svg.text(x + scale_width, below + 23, 11, muted, format("%.2f", high), right);
  };
  panel(0, "A₁", figure.a1, 0, attention_scale, sequential);
  panel(1, "A₂", figure.a2, 0, attention_scale, sequential);
  panel(2, "A₁ − λ A₂", figure.difference, -difference_scale, difference_scale, diverging);
  return svg.finish();
}

}  // namespace translate
