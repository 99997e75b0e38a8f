// translate distract: what an unrelated sentence beside the marked one costs.
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "examples/training/options.h"
#include "examples/training/study.h"
#include "examples/training/tables.h"
#include "examples/translate/bleu.h"
#include "examples/translate/commands.h"
#include "examples/translate/data.h"
#include "examples/translate/distractors.h"

namespace translate {
namespace {

struct Arguments {
  std::vector<std::string> runs;
  DecodingArguments decoding;
  TestArguments set;
};

const std::vector<std::pair<const char*, Place>> places{
    {"alone", Place::nowhere}, {"before", Place::before}, {"after", Place::after}};

// The scores of a run with the distractor at each place.
nlohmann::json score(const std::string& run, const Translator& translator, const Arguments& a) {
  const Pairs pairs = test_pairs(translator, run, a.set);
  std::vector<std::string> references;
  for (size_t i = 0; i < pairs.size(); ++i) references.push_back(pairs.targets().text(i));
  const BleuOptions options{a.set.lowercase, !a.set.tokenized, {}};
  // A built-in task has one right answer.
  const bool sentences =
      translator.settings.task.is_default() &&
      std::any_of(references.begin(), references.end(), [&](const auto& r) { return has_4gram(r, options); });
  nlohmann::json scores{{"seed", translator.settings.loop().seed.value},
                        {"attention", translator.settings.attention.value},
                        {"figure", sentences ? "BLEU" : "exact match, %"}};
  translator.warn_of_unknown(test_sources(pairs, Place::nowhere), a.set.name());
  for (const auto& [name, place] : places) {
    const std::vector<std::string> found = translator.translate(
        test_sources(pairs, place), a.decoding.options, a.set.name(), long_lines_names.at(a.decoding.long_lines));
    scores[name] = sentences ? corpus_bleu(found, references, options).score : percent_exact(found, references);
  }
  return scores;
}

// Runs of one attention are taken for each other's repetitions, and attentions are compared: runs must differ in these,
// and in nothing else that matters.
void require_comparable(const std::vector<std::string>& runs, const std::vector<Translator>& translators) {
  const std::set<std::string> free{"seed", "train", "valid", "train_src", "train_tgt", "valid_src", "valid_tgt"};
  const std::set<std::string> of_attention{"attention", "heads", "head_norm", "lambda_init"};
  for (size_t i = 0; i < runs.size(); ++i)
    for (size_t j = 0; j < i; ++j) {
      const Settings &a = translators[j].settings, &b = translators[i].settings;
      const bool alike = a.attention.value == b.attention.value;
      const auto refuse = [&](const std::string& why) { throw InputError(runs[i] + " and " + runs[j] + why); };
      if (alike && a.loop().seed.value == b.loop().seed.value)
        refuse(": both have " + a.attention.value + " attention and seed " + std::to_string(a.loop().seed));
      const nlohmann::json first = a.json(), second = b.json();
      for (const auto& [name, value] : first.items())
        if (value != second.at(name) && !free.contains(name) && (alike || !of_attention.contains(name)))
          refuse(": " + name + " is " + second.at(name).dump() + " and " + value.dump() +
                 "; a comparison is of attentions and seeds");
    }
}

void distract(const Arguments& a) {
  std::vector<ArmRecords> arms;
  std::vector<std::vector<std::string>> rows{{"run", "attention", "seed", "alone", "before", "after"}};
  std::string figure;
  std::vector<Translator> translators;
  for (const std::string& run : a.runs) {
    translators.push_back(Translator::load(run, a.decoding.model));
    if (translators.back().settings.distractors == 0)
      throw InputError(run + ": was trained without --distractors: it has never seen a mark");
  }
  require_comparable(a.runs, translators);
  for (size_t i = 0; i < a.runs.size(); ++i) {
    const std::string& run = a.runs[i];
    const nlohmann::json record = score(run, translators[i], a);
    figure = record.at("figure");
    const std::string attention = record.at("attention");
    auto arm = std::find_if(arms.begin(), arms.end(), [&](const ArmRecords& x) { return x.arm == attention; });
    if (arm == arms.end()) arm = arms.insert(arm, {attention, 0, {}});
    arm->records.push_back(record);
    rows.push_back({run, attention, record.at("seed").dump()});
    for (const auto& place : places) rows.back().push_back(format("%.2f", record.at(place.first).get<double>()));
  }
  print_table(figure + ", with the unrelated sentence nowhere, before or after the marked one", rows);

  // What the distractor costs, and whether it costs an attention less than the first that was named.
  const auto drop = [](const char* place) {
    return [place](const nlohmann::json& r) { return r.at("alone").get<double>() - r.at(place).get<double>(); };
  };
  rows = {
      {"attention", "seeds", "alone", "drop, before", "drop, after", "less " + arms[0].arm + "'s, before", "after"}};
  for (const ArmRecords& arm : arms) {
    rows.push_back({arm.arm, std::to_string(arm.records.size()), mean_and_interval(arm.values("/alone"), "%.2f")});
    for (const char* place : {"before", "after"}) {
      std::vector<double> drops;
      for (const nlohmann::json& record : arm.records) drops.push_back(drop(place)(record));
      rows.back().push_back(mean_and_interval(drops, "%.2f"));
    }
    for (const char* place : {"before", "after"}) {
      const std::vector<double> less = paired_differences(arm, arms[0], drop(place));
      rows.back().push_back(&arm == &arms[0] || less.empty() ? "" : mean_and_interval(less, "%.2f"));
    }
  }
  print_table("The drop: mean ± 95% interval over seeds; differences are paired by seed", rows);
}

}  // namespace

void add_distract_command(CLI::App& app) {
  auto a = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("distract", "what an unrelated sentence beside the marked one costs");
  command->add_option("runs", a->runs, "runs that were trained with --distractors")->required();
  add_model_option(*command, a->decoding.model);
  add_decoding_options(*command, a->decoding);
  add_test_options(*command, a->set);
  add_threads_option(*command);
  command->callback([a] { distract(*a); });
  command->footer(
      "Tells BLEU; of a built-in task, or where no reference has four words, the exact matches. Examples:\n"
      "  translate train --run runs/d --task reverse --distractors 0.67\n"
      "  translate distract runs/d");
}

}  // namespace translate
