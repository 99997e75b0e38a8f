#include "examples/training/svg.h"

#include <algorithm>

#include "examples/text/unicode.h"

namespace training {

std::string xml_text(std::string_view text) {
  constexpr const char* replacement = "\uFFFD";
  std::string safe;
  size_t invalid = text::find_invalid_utf8(text);
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (i == invalid) {
      safe += replacement;
      const size_t next = text::find_invalid_utf8(text.substr(i + 1));
      invalid = next == text.npos ? next : next + i + 1;
    } else if (text.substr(i).starts_with("\xEF\xBF\xBE") || text.substr(i).starts_with("\xEF\xBF\xBF")) {
      safe += replacement;
      i += 2;
    } else if (c == '\t') {
      safe += "⇥";
    } else if (static_cast<unsigned char>(c) < ' ') {
      safe += replacement;
    } else if (c == '&') {
      safe += "&amp;";
    } else if (c == '<') {
      safe += "&lt;";
    } else if (c == '>') {
      safe += "&gt;";
    } else if (c == '"') {
      safe += "&quot;";
    } else {
      safe += c;
    }
  }
  return safe;
}

double text_width(const std::string& text, double size) {
  return 0.62 * size * static_cast<double>(std::count_if(text.begin(), text.end(), text::begins_character));
}

Svg::Svg(double width, double height) {
  out_.precision(5);
  out_ << "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" << width << "\" height=\"" << height
       << "\" viewBox=\"0 0 " << width << ' ' << height
       << "\" font-family=\"'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans', sans-serif\">\n";
  rect(0.5, 0.5, width - 1, height - 1, "#ffffff", "rx=\"8\" stroke=\"" + std::string(grid) + "\"");
}

void Svg::text(double x, double y, int size, const std::string& colour, const std::string& words,
               const std::string& more) {
  out_ << "<text x=\"" << x << "\" y=\"" << y << "\" font-size=\"" << size << "\" fill=\"" << colour << "\" " << more
       << '>' << xml_text(words) << "</text>\n";
}

void Svg::rect(double x, double y, double width, double height, const std::string& fill, const std::string& more) {
  out_ << "<rect x=\"" << x << "\" y=\"" << y << "\" width=\"" << width << "\" height=\"" << height << "\" fill=\""
       << fill << "\" " << more << "/>\n";
}

void Svg::line(const std::vector<Point>& points, const std::string& colour, double width) {
  out_ << "<polyline fill=\"none\" stroke=\"" << colour << "\" stroke-width=\"" << width
       << "\" stroke-linejoin=\"round\" stroke-linecap=\"round\" points=\"";
  for (const auto& [x, y] : points) out_ << x << ',' << y << ' ';
  out_ << "\"/>\n";
}

void Svg::dot(Point at, const std::string& colour, double radius) {
  out_ << "<circle cx=\"" << at.x << "\" cy=\"" << at.y << "\" r=\"" << radius << "\" fill=\"" << colour
       << "\" stroke=\"#ffffff\"/>\n";
}

std::string Svg::finish() {
  out_ << "</svg>\n";
  return out_.str();
}

}  // namespace training
