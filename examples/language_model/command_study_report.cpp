// language_model study report: what the records of the study tell.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "examples/language_model/commands.h"
#include "examples/language_model/study_pictures.h"
#include "examples/training/options.h"
#include "examples/training/report.h"
#include "examples/training/tables.h"

namespace language_model {
namespace {

double bits(const nlohmann::json& record) { return record.at("bits_per_byte"); }

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
  const Value equal_loss = told.loss_at_equal_time();
  for (const ArmRecords& a : told.arms) {
    std::vector<std::string> row{a.arm,
                                 format("%g", a.lr),
                                 std::to_string(a.records.size()),
                                 a.records[0].at("parameters").dump(),
                                 mean_and_interval(a.values("/loss"), "%.4f"),
                                 mean_and_interval(a.values("/bits_per_byte"), "%.4f")};
    std::vector<double> losses, updates;
    for (const nlohmann::json& record : a.records)
      if (const double made = told.equal_updates(record); !std::isnan(made))
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
    const std::optional<Difference> e = told.difference(c, told.loss_at_equal_time());
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
      verdict, complete ? "" : " (not all the seeds, or not the updates, that were fixed: this is no verdict)");
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

std::string name_of(const Part& part) {
  return part.first == part.second ? std::to_string(part.first) : format("%ld-%ld", part.first, part.second);
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
    return loss_in({last / 4, last})(record) - loss_in({2, 7})(record);
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
  }
  draw_pictures(all, a.pictures);
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
