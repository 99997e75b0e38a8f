// core/ops/README.md derives backwards. Its formulas must stand in the sources' comments, their names in the closures.
#include <regex>
#include <set>
#include <sstream>

#include "tests/testing.h"

namespace {

std::string with_single_spaces(const std::string& text) { return std::regex_replace(text, std::regex("\\s+"), " "); }

// A source without its code, or without its comments.
std::string comments_of(const std::string& source) {
  std::istringstream lines(source);
  std::string comments, line;
  while (std::getline(lines, line))
    if (const size_t at = line.find("//"); at != std::string::npos) comments += line.substr(at + 2) + "\n";
  return with_single_spaces(comments);
}
std::string code_of(const std::string& source) {
  return with_single_spaces(std::regex_replace(source, std::regex("//[^\n]*"), ""));
}

// The names in a formula, without indices: of "dW_oi += dy^T x" they are dW, dy and x.
std::set<std::string> names_in(std::string formula) {
  formula = std::regex_replace(formula, std::regex("_[a-z]+|\\^T"), "");
  static const std::set<std::string> words{"sum", "mean", "sqrt", "the", "of", "over", "rows"};
  std::set<std::string> names;
  const std::regex name("[A-Za-z][A-Za-z0-9]*");
  for (std::sregex_iterator i(formula.begin(), formula.end(), name), end; i != end; ++i)
    if (!words.contains(i->str())) names.insert(i->str());
  return names;
}

// <!-- file: where its closure begins -->, formulas between ```, and a table of what their names are in the closure.
struct Section {
  std::string file, begin;
  std::vector<std::string> formulas;
  std::vector<std::pair<std::string, std::string>> rows;
};
std::vector<Section> sections_of(const std::string& page) {
  std::vector<Section> sections;
  std::istringstream lines(page);
  std::string line;
  bool formulas = false;
  std::smatch part;
  while (std::getline(lines, line)) {
    if (std::regex_match(line, part, std::regex("<!-- (core/ops/[a-z_]+\\.cpp): (.*) -->")))
      sections.push_back({part[1], part[2], {}, {}});
    else if (line == "```")
      formulas = !formulas;
    else if (formulas)
      sections.back().formulas.push_back(line);
    else if (!sections.empty() && std::regex_match(line, part, std::regex("\\| ([^`|]+) \\| (`.*`) \\|")))
      sections.back().rows.emplace_back(part[1], part[2]);
  }
  return sections;
}

// What is wrong with a section, a line each.
std::string faults_of(const Section& section, const std::string& source) {
  std::ostringstream faults;
  const size_t begin = source.find(section.begin);
  if (begin == std::string::npos) return "no " + section.begin;
  const std::string closure = code_of(source.substr(begin, source.find("\n}\n", begin) - begin));
  const std::string comments = comments_of(source);
  std::set<std::string> used, explained;
  for (const std::string& formula : section.formulas) {
    if (!contains(comments, with_single_spaces(formula))) faults << "no comment says " << formula << "\n";
    used.merge(names_in(formula));
  }
  for (const auto& row : section.rows) {
    explained.merge(names_in(row.first));
    const std::regex quoted("`([^`]+)`");
    for (std::sregex_iterator i(row.second.begin(), row.second.end(), quoted), end; i != end; ++i)
      if (!contains(closure, (*i)[1])) faults << "the closure has no " << (*i)[1] << "\n";
  }
  for (const std::string& name : used)
    if (!explained.contains(name)) faults << name << " is in no row\n";
  for (const std::string& name : explained)
    if (!used.contains(name)) faults << name << " is in no formula\n";
  return faults.str();
}

}  // namespace

TEST_CASE("the formulas of core/ops/README.md are the comments', and their names the closures'") {
  const std::vector<Section> sections = sections_of(project_file("core/ops/README.md"));
  CHECK(sections.size() == 8);
  for (const Section& section : sections) {
    CAPTURE(section.begin);
    CHECK(section.formulas.size() + section.rows.size() >= 4);
    CHECK(faults_of(section, project_file(section.file)) == "");
  }
}

TEST_CASE("a formula or a name that the source has not is noticed") {
  const std::string source =
      "// dx += 2 dy x\nreturn record(\"square\", [](g) {\n  dx[i] += 2 * g.out[i] * x[i];  // not z[i]\n});\n}\n";
  const Section right{"", "record(\"square\"", {"dx += 2 dy x"}, {{"dx, x", "`dx[i]`, `x[i]`"}, {"dy", "`g.out[i]`"}}};
  CHECK(faults_of(right, source) == "");
  const auto with = [&](auto change) {
    Section wrong = right;
    change(wrong);
    return faults_of(wrong, source);
  };
  CHECK(with([](Section& s) { s.formulas[0] = "dx += 3 dy x"; }) == "no comment says dx += 3 dy x\n");
  CHECK(with([](Section& s) { s.rows[1].second = "`z[i]`"; }) == "the closure has no z[i]\n");
  CHECK(with([](Section& s) { s.rows.pop_back(); }) == "dy is in no row\n");
  CHECK(with([](Section& s) { s.rows[1].first = "dy, w"; }) == "w is in no formula\n");
  CHECK(with([](Section& s) { s.begin = "record(\"cube\""; }) == "no record(\"cube\"");
}
