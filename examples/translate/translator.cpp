#include "examples/translate/translator.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <set>

#include "core/json.h"
#include "examples/text/unicode.h"
#include "examples/training/progress.h"

namespace translate {

namespace models = difftensor::models;

const std::map<std::string, LongLines> long_lines_names{
    {"fail", LongLines::fail}, {"crop", LongLines::crop}, {"empty", LongLines::empty}};

double percent_exact(const std::vector<std::string>& found, const std::vector<std::string>& references) {
  double exact = 0;
  for (size_t i = 0; i < found.size(); ++i) exact += found[i] == references[i];
  return exact * (100 / static_cast<double>(found.size()));
}

std::string translation_lines(const Pair& pair, const std::string& translation) {
  using difftensor::one_line;
  return "  source       " + one_line(pair.source) + "\n  translation  " + one_line(translation) +
         (translation == pair.target ? "  (exact)" : "") + "\n  reference    " + one_line(pair.target) + "\n\n";
}

Translator Translator::load(const std::string& folder, const std::string& which) {
  if (!std::filesystem::is_directory(folder)) throw InputError(folder + ": no such run folder");
  Settings settings;
  read_run_settings(folder, settings);
  Vocabulary vocabulary = Vocabulary::load(folder + "/spm.model");
  difftensor::Random random;
  auto model = std::make_unique<models::Transformer>(settings.model(vocabulary.size()), random);
  Translator translator{settings, std::move(vocabulary), std::move(model)};
  load_run_model(folder, which, translator.vocabulary_file(), settings, *translator.model);
  translator.model->eval();
  return translator;
}

std::vector<std::vector<Translation>> Translator::n_best(const std::vector<std::string>& lines,
                                                         models::DecodeOptions options, const std::string& name,
                                                         LongLines long_lines, size_t first_line) const {
  std::vector<std::vector<Translation>> translations(lines.size());
  std::vector<std::vector<int32_t>> sources;
  std::vector<size_t> line_of;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (is_blank(lines[i])) {
      translations[i].push_back({"", 0});
      continue;
    }
    std::vector<int32_t> ids = vocabulary.encode(lines[i]);
    if (const auto most = static_cast<size_t>(settings.max_length) - 1; ids.size() > most) {
      const std::string what = name + ":" + std::to_string(first_line + i) + ": a sentence of " +
                               std::to_string(ids.size() + 1) + " tokens; this model takes " +
                               std::to_string(settings.max_length);
      if (long_lines == LongLines::fail) throw InputError(what + " (--long-lines crop or empty translates the others)");
      const bool crop = long_lines == LongLines::crop;
      std::fprintf(stderr, "warning: %s: %s\n", what.c_str(), crop ? "only its beginning is translated" : "left empty");
      if (!crop) {
        translations[i].push_back({"", 0});
        continue;
      }
      ids.resize(most);
    }
    ids.push_back(Vocabulary::eos);
    sources.push_back(std::move(ids));
    line_of.push_back(i);
  }
  options.bos = Vocabulary::bos;
  options.eos = Vocabulary::eos;
  options.max_length_factor = settings.max_length_factor;
  const auto total = static_cast<int64_t>(sources.size());
  Progress progress(total);
  const auto found = models::decode(*model, sources, options, [&](int64_t done) {
    if (done < total) progress.update(done, "sentences");
  });
  for (size_t i = 0; i < found.size(); ++i) {
    std::set<std::string> texts;
    for (const auto& [tokens, score] : found[i])
      if (const std::string text = vocabulary.decode(tokens); texts.insert(text).second)
        translations[line_of[i]].push_back({text, score});
  }
  return translations;
}

void Translator::warn_of_unknown(const std::vector<std::string>& lines, const std::string& name,
                                 size_t first_line) const {
  std::string first;
  size_t count = 0;
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::vector<int32_t> ids = vocabulary.encode(lines[i]);
    if (std::find(ids.begin(), ids.end(), Vocabulary::unknown) == ids.end()) continue;
    if (++count <= 5) first += (first.empty() ? "" : ", ") + std::to_string(first_line + i);
  }
  if (count > 0)
    std::fprintf(stderr,
                 "warning: %s: the vocabulary lacks characters of %zu %s (%s%s): the model sees one token for all\n",
                 name.c_str(), count, count == 1 ? "line" : "lines", first.c_str(), count > 5 ? ", ..." : "");
}

std::vector<std::string> Translator::translate(const std::vector<std::string>& lines,
                                               const models::DecodeOptions& options, const std::string& name,
                                               LongLines long_lines) const {
  std::vector<std::string> best;
  for (auto& found : n_best(lines, options, name, long_lines)) best.push_back(std::move(found.at(0).text));
  return best;
}

}  // namespace translate
