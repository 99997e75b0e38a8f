// language_model study report: what the records of the study tell.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "examples/language_model/commands.h"
#include "examples/language_model/study.h"
#include "examples/training/charts.h"
#include "examples/training/dot_chart.h"
#include "examples/training/options.h"
#include "examples/training/report.h"
#include "examples/training/tables.h"

namespace language_model {
namespace {

using Value = std::function<double(const nlohmann::json& record)>;

// What is told of one text.
struct Told {
  Study study;
  Records records;
  std::vector<ArmRecords> arms;  // that have records
  EqualTime equal;

  // Of the seeds that have both values; none without any.
  std::optional<Difference> difference(const Comparison& c, const Value& value) const {
    const ArmRecords *a = training::find_arm(arms, c.arm), *control = training::find_arm(arms, c.control);
    if (!a || !control) return {};
    std::vector<double> seeds = paired_differences(*a, *control, value);
    std::erase_if(seeds, [](double x) { return std::isnan(x); });
    return seeds.empty() ? std::nullopt : std::optional(difference_of(seeds));
  }
};

double final_loss(const nlohmann::json& record) { return record.at("loss"); }
double bits(const nlohmann::json& record) { return record.at("bits_per_byte"); }

// How many updates a training had made when the fastest of its seed was done, and its loss then; NaN if that is not
// known.
double equal_updates(const Told& told, const nlohmann::json& record) {
  const auto updates = told.equal.find({record.at("arm"), record.at("seed")});
  return updates == told.equal.end() ? NAN : updates->second;
}
Value loss_at_equal_time(const Told& told) {
  return [&told](const nlohmann::json& record) {
    const double updates = equal_updates(told, record);
    return std::isnan(updates) ? NAN : loss_after(updates, record);
  };
}

std::string text_of(const Interval& i) { return std::isfinite(i.low) ? format("%+.4f to %+.4f", i.low, i.high) : ""; }

// "+0.013 ± 0.014"
std::string text_of(const std::optional<Difference>& d) {
  if (!d) return "";
  return format("%+.3f", d->mean) + (d->seeds.size() > 1 ? format(" ± %.3f", d->student.high - d->mean) : "");
}

// --- Tables -------------------------------------------------------------------------------------------------------

void print_arms(const Told& told) {
  std::vector<std::vector<std::string>> rows{{"arm", "learning rate", "seeds", "parameters", "loss, nats a token",
                                              "bits per byte", "CPU ms an update", "updates at equal time",
                                              "loss at equal time"}};
  const Value equal_loss = loss_at_equal_time(told);
  for (const ArmRecords& a : told.arms) {
    std::vector<std::string> row{a.arm,
                                 format("%g", a.lr),
                                 std::to_string(a.records.size()),
                                 a.records[0].at("parameters").dump(),
                                 mean_and_interval(a.values("/loss"), "%.4f"),
                                 mean_and_interval(a.values("/bits_per_byte"), "%.4f")};
    std::vector<double> losses, updates;
    for (const nlohmann::json& record : a.records)
      if (const double made = equal_updates(told, record); !std::isnan(made))
        updates.push_back(made), losses.push_back(equal_loss(record));
    if (!losses.empty()) {
      row.push_back(format("%.1f", 1000 * training::median(a.values("/cpu_seconds_per_update"))));
      row.push_back(mean_and_interval(updates, "%.0f"));
      row.push_back(mean_and_interval(losses, "%.4f"));
    }
    row.resize(rows[0].size());
    rows.push_back(std::move(row));
  }
  print_table("Arms: mean ± 95% interval over seeds", rows);
}

void print_differences(const Told& told) {
  std::vector<std::vector<std::string>> rows{{"difference", "what differs", "seeds", "mean", "paired t, 95%",
                                              "bootstrap, 95%", "bits per byte", "at equal time, mean", "paired t, 95%",
                                              "bootstrap, 95%"}};
  for (const Comparison& c : comparisons()) {
    const std::optional<Difference> d = told.difference(c, final_loss);
    if (!d) continue;
    const std::optional<Difference> e = told.difference(c, loss_at_equal_time(told));
    rows.push_back({c.name(), c.purpose, std::to_string(d->seeds.size()), format("%+.4f", d->mean), text_of(d->student),
                    text_of(d->bootstrap), format("%+.4f", told.difference(c, bits)->mean),
                    e ? format("%+.4f", e->mean) : "", e ? text_of(e->student) : "", e ? text_of(e->bootstrap) : ""});
  }
  print_table("Differences of loss, nats a token, paired by seed: below zero, the first predicts better", rows);

  const Comparison& primary = comparisons()[0];
  const std::optional<Difference> d = told.difference(primary, final_loss);
  if (!d) return;
  const Study fixed = study_of(told.study.task);
  const bool complete = d->seeds.size() == fixed.seeds.size() && told.study.updates == fixed.updates;
  const char* verdict = d->student.high < 0  ? "below zero: the second map lowers the loss"
                        : d->student.low > 0 ? "above zero: the second map raises the loss"
                                             : "around zero: no difference can be told";
  say("\nThe primary difference, %s on %s: its interval lies %s%s.\n", primary.name().c_str(), told.study.task.c_str(),
      verdict, complete ? "" : " (not the seeds and updates that were fixed: this is no verdict)");
}

// How a difference came to be what it is at the end.
void print_updates(const Told& told) {
  std::vector<std::vector<std::string>> rows{{"difference"}};
  std::vector<double> updates;
  for (const nlohmann::json& point : told.arms[0].records[0].at("curve")) {
    updates.push_back(point.at(0));
    rows[0].push_back(format("%.0f", updates.back()));
  }
  for (const Comparison& c : comparisons()) {
    if (!told.difference(c, final_loss)) continue;
    rows.push_back({c.name()});
    for (const double update : updates)
      rows.back().push_back(
          text_of(told.difference(c, [=](const nlohmann::json& record) { return loss_after(update, record); })));
  }
  print_table("Differences of loss after so many updates, mean ± 95% interval", rows);
}

// The mean loss of the positions from `first` to `last`, each counted alike.
double loss_between(const nlohmann::json& record, int64_t first, int64_t last) {
  double sum = 0, count = 0;
  for (const nlohmann::json& part : record.at("positions")) {
    const int64_t begin = part.at(0), end = part.at(1);
    if (begin < first || end > last) continue;
    const auto positions = static_cast<double>(end - begin + 1);
    sum += positions * part.at(2).get<double>(), count += positions;
  }
  return sum / count;
}

// The parts of a context that losses are told of: "1", "2-3" and so on.
using Part = std::pair<int64_t, int64_t>;
std::vector<Part> parts_of(const Told& told) {
  std::vector<Part> parts;
  for (const nlohmann::json& part : told.arms[0].records[0].at("positions")) parts.emplace_back(part.at(0), part.at(1));
  return parts;
}
std::string name_of(const Part& part) {
  return part.first == part.second ? std::to_string(part.first) : format("%ld-%ld", part.first, part.second);
}
Value loss_in(const Part& part) {
  return [part](const nlohmann::json& record) { return loss_between(record, part.first, part.second); };
}
double mean_loss(const ArmRecords& a, const Part& part) {
  std::vector<double> seeds;
  for (const nlohmann::json& record : a.records) seeds.push_back(loss_in(part)(record));
  return student_interval(seeds).mean;
}

void print_positions(const Told& told) {
  const std::vector<Part> parts = parts_of(told);
  std::vector<std::vector<std::string>> losses{{"position"}}, differences{{"difference"}};
  for (const ArmRecords& a : told.arms) losses[0].push_back(a.arm);
  for (const Part& part : parts) {
    losses.push_back({name_of(part)});
    differences[0].push_back(name_of(part));
    for (const ArmRecords& a : told.arms) losses.back().push_back(format("%.4f", mean_loss(a, part)));
  }
  differences[0].push_back("far less near");
  const auto far_less_near = [last = parts.back().second](const nlohmann::json& record) {
    return loss_between(record, last / 4, last) - loss_between(record, 2, 7);
  };
  for (const Comparison& c : comparisons()) {
    if (!told.difference(c, final_loss)) continue;
    auto& row = differences.emplace_back(std::vector{c.name()});
    const auto add = [&](const Value& value) {
      row.push_back(text_of(told.difference(c, value)));  // none in a context too short to have both
    };
    for (const Part& part : parts) add(loss_in(part));
    add(far_less_near);
  }
  print_table("Loss by position in the context: means over seeds", losses);
  print_table(
      "Differences of loss by position, mean ± 95% interval. Far: from a quarter of the context on; near: 2 to 7. "
      "Far less near below zero: the longer the context, the more the first arm gains",
      differences);
}

// --- Pictures -----------------------------------------------------------------------------------------------------

// What looking back is worth: the loss of each arm by position, and the differences.
void draw_positions(const Told& told, const std::string& folder) {
  const auto curve = [&](const std::string& label, const auto& mean) {
    Series series{label, {}};
    for (const Part& part : parts_of(told))
      series.points.push_back({static_cast<double>(part.first + part.second) / 2, mean(part)});
    return series;
  };
  std::vector<Series> losses, differences;
  for (const ArmRecords& a : told.arms)
    losses.push_back(curve(a.arm, [&](const Part& part) { return mean_loss(a, part); }));
  for (const Comparison& c : comparisons())
    if (told.difference(c, final_loss))
      differences.push_back(curve(c.name(), [&](const Part& part) { return told.difference(c, loss_in(part))->mean; }));
  write_file(folder + "/" + told.study.task + "-positions.svg", position_chart(losses));
  write_file(folder + "/" + told.study.task + "-position-differences.svg",
             position_chart(differences, "differences of loss by position", "%+.3f"));
}

// Every comparison of every text, with each seed's difference a dot and its interval a bar.
void draw_differences(const std::vector<Told>& all, const std::string& path) {
  std::vector<std::string> rows;
  std::vector<DotPanel> panels;
  for (const Comparison& c : comparisons()) rows.push_back(c.name());
  for (const Told& told : all)
    for (const bool equal_time : {false, true}) {
      DotPanel panel{told.study.task + (equal_time ? ", equal time" : ", equal updates"), 0, 0, {}, {}};
      double widest = 1e-4;
      for (const Comparison& c : comparisons()) {
        const auto d = told.difference(c, equal_time ? loss_at_equal_time(told) : final_loss);
        panel.values.push_back(d ? d->seeds : std::vector<double>{});
        panel.intervals.push_back(d ? d->student : Interval{});
        for (const double x : panel.values.back()) widest = std::max(widest, std::abs(x));
        for (const double x : {panel.intervals.back().low, panel.intervals.back().high})
          if (std::isfinite(x)) widest = std::max(widest, std::abs(x));
      }
      const double step = std::pow(10, std::floor(std::log10(widest)));
      panel.high = step * std::ceil(widest / step), panel.low = -panel.high;
      panels.push_back(std::move(panel));
    }
  write_file(path,
             dot_chart("Differences of loss, nats a token: each dot is a seed, the bar a 95% interval", rows, panels));
}

// --- The report ---------------------------------------------------------------------------------------------------

struct Arguments {
  std::vector<std::string> records;
  std::string pictures;
  int64_t updates = 0;
  int seeds = 0;
};

Told tell(const std::string& text, const Records& records, const Arguments& a) {
  Told told{study_of(text, a.updates, a.seeds), {}, {}, {}};
  for (const nlohmann::json& record : records)
    if (record.at("task") == text) told.records.push_back(record);
  require_comparable(told.records, a.records[0]);
  told.arms = reported_arms(told.study, told.records);
  told.equal = equal_time(told.arms, told.study.updates);
  return told;
}

void report(const Arguments& a) {
  Records records;
  for (const std::string& path : a.records) {
    const Records some = read_records(path);
    records.insert(records.end(), some.begin(), some.end());
  }
  if (records.empty()) throw InputError(a.records[0] + ": there is no record");
  std::vector<std::string> texts;  // in the order in which they came
  for (const nlohmann::json& record : records)
    if (const std::string text = record.at("task"); std::find(texts.begin(), texts.end(), text) == texts.end())
      texts.push_back(text);
  std::vector<Told> all;
  for (const std::string& text : texts) all.push_back(tell(text, records, a));
  difftensor::make_folder(a.pictures);
  for (const Told& told : all) {
    const std::string& text = told.study.task;
    say("%s## %s: %s\n\n%s, of %ld updates each.\n", all.size() > 1 ? "\n" : "", text.c_str(),
        told.study.purpose.c_str(), progress_of(told.study, told.arms, told.records).c_str(), told.study.updates);
    print_tuning("Tuning: loss of the seeds that are not reported, by learning rate", told.study, told.records,
                 [](const nlohmann::json& record) { return format("%.4f", final_loss(record)); });
    if (told.arms.empty()) continue;
    print_arms(told);
    print_differences(told);
    print_updates(told);
    print_positions(told);
    draw_positions(told, a.pictures);
  }
  draw_differences(all, a.pictures + "/differences.svg");
  say("\npictures: %s/differences.svg; of each text TEXT-positions.svg, TEXT-position-differences.svg\n",
      a.pictures.c_str());
}

}  // namespace

void add_study_report_command(CLI::App& study) {
  const auto a = std::make_shared<Arguments>();
  CLI::App* command = study.add_subcommand("report", "what records tell: tables in Markdown, and pictures");
  command->add_option("records", a->records, "files of records, of one text or several")->required();
  command->add_option("--pictures", a->pictures, "the folder for the pictures [that of the first records]");
  command->add_option("--updates", a->updates, "updates of each training, as run was told [400]")
      ->check(whole_number(1));
  command->add_option("--seeds", a->seeds, "report the seeds 1 to so many, as run was told [10]")
      ->check(whole_number(1, 100));
  command->callback([a] {
    if (a->pictures.empty()) a->pictures = std::filesystem::absolute(a->records[0]).parent_path();
    std::string files;
    for (const std::string& path : a->records) files += (files.empty() ? "" : ", ") + path;
    training::reading_records(files, [&] { report(*a); });
  });
}

}  // namespace language_model
