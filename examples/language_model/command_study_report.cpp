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

  const ArmRecords* find(const std::string& arm) const {
    const auto found = std::find_if(arms.begin(), arms.end(), [&](const ArmRecords& a) { return a.arm == arm; });
    return found == arms.end() ? nullptr : &*found;
  }
  // Of the seeds that both have; none without any.
  std::optional<Difference> difference(const Comparison& c, const Value& value) const {
    const ArmRecords *a = find(c.arm), *control = find(c.control);
    if (!a || !control) return {};
    const std::vector<double> seeds = paired_differences(*a, *control, value);
    return seeds.empty() ? std::nullopt : std::optional(difference_of(seeds));
  }
};

double final_loss(const nlohmann::json& record) { return record.at("loss"); }
double bits(const nlohmann::json& record) { return record.at("bits_per_byte"); }

// The loss of an arm when the fastest was done; NaN if no record tells its cost.
Value loss_at_equal_time(const Told& told) {
  return [&told](const nlohmann::json& record) {
    const auto updates = told.equal.updates.find(record.at("arm"));
    return updates == told.equal.updates.end() ? NAN : loss_after(updates->second, record);
  };
}

std::string text_of(const Interval& i) { return std::isfinite(i.low) ? format("%+.4f to %+.4f", i.low, i.high) : ""; }

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
    if (const auto updates = told.equal.updates.find(a.arm); updates != told.equal.updates.end()) {
      std::vector<double> losses;
      for (const nlohmann::json& record : a.records) losses.push_back(equal_loss(record));
      row.push_back(format("%.1f", 1000 * told.equal.seconds / updates->second));
      row.push_back(format("%.0f", updates->second));
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
    const Difference e = *told.difference(c, loss_at_equal_time(told));
    rows.push_back({c.name(), c.purpose, std::to_string(d->seeds.size()), format("%+.4f", d->mean), text_of(d->student),
                    text_of(d->bootstrap), format("%+.4f", told.difference(c, bits)->mean),
                    std::isnan(e.mean) ? "" : format("%+.4f", e.mean), text_of(e.student), text_of(e.bootstrap)});
  }
  print_table("Differences of loss, nats a token, paired by seed: below zero, the first predicts better", rows);

  const Comparison& primary = comparisons()[0];
  const std::optional<Difference> d = told.difference(primary, final_loss);
  if (!d) return;
  const bool complete = d->seeds.size() == told.study.seeds.size();
  const char* verdict = d->student.high < 0  ? "below zero: the second map lowers the loss"
                        : d->student.low > 0 ? "above zero: the second map raises the loss"
                                             : "around zero: no difference can be told";
  say("\nThe primary difference, %s on %s: its interval lies %s%s.\n", primary.name().c_str(), told.study.task.c_str(),
      verdict, complete ? "" : " (not all seeds are done: this says nothing yet)");
}

void print_positions(const Told& told) {
  std::vector<std::vector<std::string>> rows{{"position"}};
  const nlohmann::json& parts = told.arms[0].records[0].at("positions");
  for (const ArmRecords& a : told.arms) rows[0].push_back(a.arm);
  rows[0].push_back(comparisons()[0].name());
  for (size_t i = 0; i < parts.size(); ++i) {
    const int64_t first = parts[i].at(0), last = parts[i].at(1);
    std::vector<std::string> row{first == last ? std::to_string(first) : format("%ld-%ld", first, last)};
    const std::string place = "/positions/" + std::to_string(i) + "/2";
    for (const ArmRecords& a : told.arms) row.push_back(format("%.4f", student_interval(a.values(place)).mean));
    const auto loss = [&](const nlohmann::json& record) { return record.at("positions").at(i).at(2).get<double>(); };
    const std::optional<Difference> d = told.difference(comparisons()[0], loss);
    row.push_back(d ? format("%+.4f (", d->mean) + text_of(d->student) + ")" : "");
    rows.push_back(std::move(row));
  }
  print_table("Loss by position in the context: means over seeds, and the primary difference with its 95% interval",
              rows);
}

// --- Pictures -----------------------------------------------------------------------------------------------------

// What looking back is worth: the loss of each arm by position, and how far it is from that of plain softmax.
void draw_positions(const Told& told, const std::string& folder) {
  const auto curve = [](const ArmRecords& a) {
    Series series{a.arm, {}};
    const nlohmann::json& parts = a.records[0].at("positions");
    for (size_t i = 0; i < parts.size(); ++i)
      series.points.push_back({(parts[i].at(0).get<double>() + parts[i].at(1).get<double>()) / 2,
                               student_interval(a.values("/positions/" + std::to_string(i) + "/2")).mean});
    return series;
  };
  std::vector<Series> losses, differences;
  for (const ArmRecords& a : told.arms) losses.push_back(curve(a));
  write_file(folder + "/" + told.study.task + "-positions.svg", position_chart(losses));
  const ArmRecords* softmax = told.find("softmax");
  if (!softmax) return;
  const Series zero = curve(*softmax);
  for (Series series : losses) {
    for (size_t i = 0; i < series.points.size(); ++i) series.points[i].y -= zero.points.at(i).y;
    differences.push_back(std::move(series));
  }
  write_file(folder + "/" + told.study.task + "-positions-less-softmax.svg",
             position_chart(differences, "loss by position, less that of softmax", "%+.3f"));
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
        const bool there = d && !std::isnan(d->mean);
        panel.values.push_back(there ? d->seeds : std::vector<double>{});
        panel.intervals.push_back(there ? d->student : Interval{});
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
  difftensor::make_folder(a.pictures);
  for (const std::string& text : texts) {
    all.push_back(tell(text, records, a));
    const Told& told = all.back();
    say("%s## %s: %s\n\n%s, of %ld updates each.\n", all.size() > 1 ? "\n" : "", text.c_str(),
        told.study.purpose.c_str(), progress_of(told.study, told.arms).c_str(), told.study.updates);
    print_tuning("Tuning: loss of the seeds that are not reported, by learning rate", told.study, told.records,
                 [](const nlohmann::json& record) { return format("%.4f", final_loss(record)); });
    if (told.arms.empty()) continue;
    print_arms(told);
    print_differences(told);
    print_positions(told);
    draw_positions(told, a.pictures);
  }
  draw_differences(all, a.pictures + "/differences.svg");
  say("\npictures: %s/differences.svg; of each text TEXT-positions.svg, TEXT-positions-less-softmax.svg\n",
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
