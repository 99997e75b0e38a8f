#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "examples/needle/commands.h"
#include "examples/needle/pictures.h"
#include "examples/text/files.h"
#include "examples/training/options.h"
#include "examples/training/report.h"
#include "examples/training/statistics.h"
#include "examples/training/tables.h"

namespace needle {

using text::format;
using training::mean_and_interval, training::print_table, training::say;

namespace {

std::string updates_text(double updates, int64_t all) {
  return std::isinf(updates) ? format("> %ld", all) : format("%.0f", updates);
}

// --- Tables -------------------------------------------------------------------------------------------------------

void print_learning(const Study& study, const std::vector<ArmRecords>& arms) {
  std::vector<std::vector<std::string>> rows{{"arm", "learning rate", "seeds", "updates to 50%", "to 90%", "to 99%",
                                              "each seed's, to 99%", "solved at the end", "parameters",
                                              "CPU ms an update"}};
  for (const ArmRecords& a : arms) {
    const auto middle = [&](double accuracy) {
      return updates_text(training::median(updates(a, accuracy)), study.updates);
    };
    const std::vector<double> seeds = updates(a, 0.99), costs = a.values("/cpu_seconds_per_update");
    std::string list;
    for (const double updates : seeds)
      list += (list.empty() ? "" : ", ") + (std::isinf(updates) ? "never" : format("%.0f", updates));
    rows.push_back({a.arm, format("%g", a.lr), std::to_string(a.seeds()), middle(0.5), middle(0.9), middle(0.99), list,
                    format("%zu of %ld", solved(a).records.size(), a.seeds()), a.records[0].at("parameters").dump(),
                    costs.empty() ? "" : format("%.0f", 1000 * training::median(costs))});
  }
  print_table("Learning: medians over seeds; a seed that never came there counts as the last", rows);
}

void print_tests(const std::vector<ArmRecords>& arms) {
  std::vector<std::string> names;
  for (const auto& [name, score] : arms[0].records[0].at("tests").items()) names.push_back(name);
  std::vector<std::vector<std::string>> rows{{"test"}},
      depths{{"arm", "oldest quarter", "second", "third", "newest", "x4: oldest", "second", "third", "newest"}};
  for (const ArmRecords& a : arms) rows[0].push_back(a.arm);
  for (const std::string& name : names) {
    auto& row = rows.emplace_back(std::vector{name});
    for (const ArmRecords& a : arms) row.push_back(mean_and_interval(a.values("/tests/" + name + "/accuracy")));
  }
  for (const ArmRecords& a : arms) {
    auto& row = depths.emplace_back(std::vector{a.arm});
    for (const char* test : {"as trained", "context x4"})
      for (const char* quarter : {"0", "1", "2", "3"})
        row.push_back(mean_and_interval(a.values(format("/tests/%s/depth/%s", test, quarter)), "%.2f"));
  }
  print_table("Accuracy: mean ± 95% interval", rows);
  print_table("Accuracy by depth: as trained, and in contexts four times as long", depths);
}

void print_inside(const std::vector<ArmRecords>& arms) {
  std::vector<std::vector<std::string>> mass{{"arm", "mean of heads, signed: answer / noise", "absolute",
                                              "best head, signed", "absolute", "λ of each layer, each seed"}},
      large{{"arm", "logits, layer 1", "layer 2", "hidden states, layer 1", "layer 2"}};
  for (const ArmRecords& a : arms) {
    const auto middle = [&](const std::string& path) { return training::median(a.values(path)); };
    const auto pair = [&](const char* normalisation, size_t index) {
      return format("%.3f / %.3f", middle(mass_path(normalisation, index)),
                    middle(mass_path(normalisation, index + 1)));
    };
    std::string lambdas;
    for (const nlohmann::json& record : a.records)
      if (const auto& l = record.at("lambda"); !l.empty())
        lambdas += (lambdas.empty() ? "" : "; ") + format("%.2f, %.2f", l.at(0).get<double>(), l.at(1).get<double>());
    mass.push_back({a.arm, pair("signed", 0), pair("absolute", 0), pair("signed", 2), pair("absolute", 2), lambdas});
    const auto top = [&](const std::string& place) {
      const auto rank = [&](const char* index) { return middle(place + index); };
      return format("%.3g / %.3g / %.3g / %.3g", rank("0"), rank("3"), rank("4"), rank("5"));
    };
    large.push_back({a.arm, top("/logits/0/"), top("/logits/1/"), top("/hidden/0/"), top("/hidden/1/")});
  }
  print_table(
      "Attention of the second layer in the rows that must answer: mass on the answer and on noise, medians over seeds",
      mass);
  print_table("Largest magnitudes: top 1 / 10 / 100 / median, medians over seeds", large);
}

// High learning rates make large numbers, and each arm has a rate of its own. So diff and its control are compared at one
// rate, too: all pairs of one rate and seed of which both came to 99%, tuning seeds among them.
void print_pairs(const Records& records) {
  const std::vector<std::pair<std::string, nlohmann::json::json_pointer>> figures{
      {"logits, layer 1", "/logits/0/0"_json_pointer},
      {"layer 2", "/logits/1/0"_json_pointer},
      {"hidden states, layer 1", "/hidden/0/0"_json_pointer},
      {"layer 2", "/hidden/1/0"_json_pointer}};
  const auto came_there = [](const nlohmann::json& r) { return !training::is_astray(r) && updates_to(0.99, r) > 0; };
  std::vector<std::vector<double>> ratios(figures.size());
  for (const nlohmann::json& diff : records) {
    Trial other = training::trial_of(diff);
    if (other.arm != "diff" || !came_there(diff)) continue;
    other.arm = "softmax-wide-norm";
    for (const nlohmann::json& control : records)
      if (training::trial_of(control) == other && came_there(control))
        for (size_t i = 0; i < figures.size(); ++i)
          ratios[i].push_back(diff.at(figures[i].second).get<double>() / control.at(figures[i].second).get<double>());
  }
  if (ratios[0].empty()) return;
  std::vector<std::vector<std::string>> rows{{"pairs"}, {std::to_string(ratios[0].size())}};
  for (size_t i = 0; i < figures.size(); ++i) {
    rows[0].push_back(figures[i].first);
    const auto smaller = std::count_if(ratios[i].begin(), ratios[i].end(), [](double r) { return r < 1; });
    rows[1].push_back(format("smaller in %ld, median %.2f times", smaller, training::median(ratios[i])));
  }
  print_table("Largest magnitudes of diff beside softmax-wide-norm's, at one rate and seed, where both came to 99%",
              rows);
}

// The test that the confirmatory study was made for: see studies(). A training that went astray did not solve the task.
void print_test(const Study& study, const Records& records) {
  const auto all_of = [&](const char* arm) { return ArmRecords{arm, 0, study.reported(arm, records)}; };
  const ArmRecords diff = all_of("diff"), control = all_of("softmax-wide-norm");
  if (diff.records.empty() || control.records.empty()) return;
  if (study.updates != study_named("confirmatory", 0).updates)
    return say("\nThese are not the updates of the study that was fixed: there is no test.\n");
  const auto count = [](const ArmRecords& a) { return static_cast<int64_t>(solved(a).records.size()); };
  const int64_t n = diff.seeds(), m = control.seeds(), a = count(diff), b = count(control);
  const std::vector<double> differences = training::paired_differences(
      diff, control, [](const nlohmann::json& record) -> double { return is_solved(record); });
  say("\nOf the seeds that both have, diff alone solved %ld and softmax-wide-norm alone %ld.\n",
      std::count(differences.begin(), differences.end(), 1), std::count(differences.begin(), differences.end(), -1));
  say("diff solved %ld of %ld, softmax-wide-norm %ld of %ld: ", a, n, b, m);
  // Looking at each seed as it comes, and ending at a good one, would find what is not there.
  if (const auto all = static_cast<int64_t>(study.seeds.size()); n < all || m < all) {
    say("Fisher's exact test is made when all %ld seeds of both are done\n", all);
    return;
  }
  const double p = training::fisher_exact(a, n, b, m);
  say("Fisher's exact test, one-sided: p = %.4f, %s at 0.05\n", p, p < 0.05 ? "significant" : "not significant");
}

void report(const Study& study, const std::string& path, const std::string& folder) {
  const Records records = training::read_records(path);
  if (records.empty()) throw text::InputError(path + ": there is no record");
  require_comparable(records, path);
  const std::vector<ArmRecords> arms = training::reported_arms(study, records);
  say("Study \"%s\": %s%s %s.\n", study.name.c_str(), study.purpose.c_str(), study.purpose.ends_with('?') ? "" : ".",
      training::progress_of(study, arms, records).c_str());
  if (study.lrs.size() > 1)
    training::print_tuning("Tuning: updates to 99% of the seeds that are not reported, by learning rate", study,
                           records, [](const nlohmann::json& record) {
                             const int64_t updates = updates_to(0.99, record);
                             return updates ? std::to_string(updates) : "never";
                           });
  if (!arms.empty()) print_learning(study, arms);
  if (study.name == "confirmatory") print_test(study, records);
  if (arms.empty()) return;
  std::vector<ArmRecords> good;
  std::string none;
  for (const ArmRecords& a : arms) {
    if (ArmRecords some = solved(a); some.records.empty()) {
      none += (none.empty() ? "; none of " : ", ") + a.arm;
    } else {
      some.arm += format(" (%zu)", some.records.size());
      good.push_back(std::move(some));
    }
  }
  if (!good.empty()) {
    say("\nThe tables below are of the seeds that solved the task (%g%%), so many of each arm%s.\n",
        100 * solved_accuracy, none.c_str());
    print_tests(good);
    print_inside(good);
  }
  print_pairs(records);
  difftensor::make_folder(folder);
  draw_pictures(study, arms, folder);
  say("\npictures: %s/%s-curves.svg, -arms.svg, -tests.svg, -attention.svg, -magnitudes.svg\n", folder.c_str(),
      study.name.c_str());
}

}  // namespace

void add_report_command(CLI::App& app) {
  struct Arguments {
    std::string study = "first", records, pictures;
    int64_t updates = 0;
  };
  const auto a = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("report", "what a study's records tell: tables in Markdown, and pictures");
  command->add_option("--study", a->study, "quick, first or confirmatory");
  command->add_option("--records", a->records, "the file of records [runs/needle/STUDY.jsonl]");
  command->add_option("--pictures", a->pictures, "the folder for the pictures [that of the records]");
  command->add_option("--updates", a->updates, "updates of each training, as run was told [the study's]")
      ->check(training::whole_number(1));
  command->callback([a] {
    const Study study = study_named(a->study, a->updates);
    if (a->records.empty()) a->records = "runs/needle/" + study.name + ".jsonl";
    if (a->pictures.empty()) a->pictures = std::filesystem::absolute(a->records).parent_path();
    training::reading_records(a->records, [&] { report(study, a->records, a->pictures); });
  });
}

}  // namespace needle
