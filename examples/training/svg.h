#pragma once
// What the charts are drawn with.
#include <cstddef>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "examples/text/files.h"

namespace training {

using text::format;

struct Point {
  double x, y;
};

// Blue for what is measured and large, orange for its counterpart: told apart also by the colour-blind.
inline constexpr const char *ink = "#1f2937", *muted = "#6b7280", *grid = "#e5e7eb", *blue = "#2563b0",
                            *orange = "#d9661f";
// For the `more` of a text.
inline constexpr const char *right = "text-anchor=\"end\"", *centred = "text-anchor=\"middle\"",
                            *bold = "font-weight=\"600\"";

/// Text as XML 1.0 may hold it, in an element or a quoted attribute. Markup is escaped, a tab shown as an arrow. What XML
/// has no place for becomes U+FFFD: control characters, U+FFFE, U+FFFF, and each byte that is not UTF-8.
std::string xml_text(std::string_view text);

/// A guess at the width of a text: half an em and a bit for each character.
double text_width(const std::string& text, double size);

/// SVG elements in the order they are drawn, on a white card: readable on a light page as on a dark one. Lengths are
/// pixels; `more` is further attributes.
class Svg {
 public:
  Svg(double width, double height);
  void text(double x, double y, int size, const std::string& colour, const std::string& words,
            const std::string& more = {});
  void rect(double x, double y, double width, double height, const std::string& fill, const std::string& more = {});
  void line(const std::vector<Point>& points, const std::string& colour, double width);
  void dot(Point at, const std::string& colour, double radius = 3.5);
  std::string finish();

 private:
  std::ostringstream out_;
};

}  // namespace training
