#include "examples/language_model/corpus.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "examples/text/files.h"
#include "examples/text/unicode.h"

namespace language_model {

namespace fs = std::filesystem;

namespace {

bool wanted(const std::string& name, const std::vector<std::string>& suffixes) {
  return !name.starts_with('.') && (suffixes.empty() || std::any_of(suffixes.begin(), suffixes.end(),
                                                                    [&](auto& s) { return name.ends_with(s); }));
}

// The files of a folder and its folders; apart, the paths of those that are not UTF-8.
void add_folder(const fs::path& folder, const std::vector<std::string>& suffixes, std::vector<TextFile>& files,
                std::vector<std::string>& left_out) {
  std::vector<fs::directory_entry> entries;
  for (const auto& entry : fs::directory_iterator(folder)) entries.push_back(entry);
  std::sort(entries.begin(), entries.end());
  for (const auto& entry : entries) {
    const std::string name = entry.path().filename();
    // A link to a folder is not followed: it may lead back up.
    if (entry.is_directory() && !entry.is_symlink() && !name.starts_with('.'))
      add_folder(entry.path(), suffixes, files, left_out);
    if (!entry.is_regular_file() || !wanted(name, suffixes)) continue;
    TextFile file{entry.path(), read_file(entry.path())};
    if (find_invalid_utf8(file.content) == std::string::npos)
      files.push_back(std::move(file));
    else
      left_out.push_back(file.path);
  }
}

}  // namespace

std::vector<TextFile> read_texts(const std::vector<std::string>& paths, const std::vector<std::string>& suffixes) {
  std::vector<TextFile> files;
  for (const std::string& path : paths) {
    if (!fs::exists(path)) throw InputError(path + ": no such file or folder");
    if (fs::is_directory(path)) {
      try {
        std::vector<std::string> left_out;
        add_folder(path, suffixes, files, left_out);
        if (!left_out.empty())
          std::fprintf(stderr, "warning: %s: %zu files are left out, for they are not UTF-8: %s%s\n", path.c_str(),
                       left_out.size(), left_out[0].c_str(), left_out.size() > 1 ? ", ..." : "");
      } catch (const fs::filesystem_error& error) {
        throw InputError(path + ": " + error.what());
      }
      continue;
    }
    files.push_back({path, read_file(path)});
    const std::string& content = files.back().content;
    if (const size_t at = find_invalid_utf8(content); at != std::string::npos)
      throw InputError(path + ":" + std::to_string(1 + std::count(content.begin(), content.begin() + at, '\n')) +
                       ": this is not valid UTF-8");
  }
  std::erase_if(files, [](const TextFile& file) { return file.content.empty(); });
  if (files.empty()) {
    std::string where;
    for (const std::string& suffix : suffixes)
      where += (where.empty() ? " in files of folders that end in " : " or ") + suffix;
    throw InputError(paths.at(0) + (paths.size() > 1 ? " and others" : "") + ": there is no text" + where);
  }
  return files;
}

size_t held_out_begin(std::string_view text, double fraction) {
  auto at = static_cast<size_t>(static_cast<double>(text.size()) * (1 - fraction));
  if (at == 0 || at >= text.size()) return std::min(at, text.size());
  const size_t newline = text.find('\n', at - 1);
  if (newline != std::string_view::npos && newline + 1 < text.size()) return newline + 1;
  while (at < text.size() && !begins_character(text[at])) ++at;
  return at;
}

void Corpus::add(std::vector<int32_t> ids, int64_t given_ids, int64_t text_bytes, int64_t unknown_tokens) {
  texts.push_back(std::move(ids));
  given.push_back(given_ids);
  bytes += text_bytes;
  unknown += unknown_tokens;
}

std::span<const int32_t> Corpus::targets(size_t text) const { return std::span(texts[text]).subspan(given[text]); }

int64_t Corpus::targets() const {
  int64_t count = 0;
  for (size_t text = 0; text < texts.size(); ++text) count += static_cast<int64_t>(targets(text).size());
  return count;
}

Corpus whole_files(const std::vector<TextFile>& files, const Tokenizer& tokenizer) {
  std::vector<std::string_view> contents;
  for (const TextFile& file : files) contents.push_back(file.content);
  Corpus corpus;
  const auto encoded = tokenizer.encode(contents);
  for (size_t i = 0; i < files.size(); ++i) {
    std::vector<int32_t> ids{tokenizer.end()};
    ids.insert(ids.end(), encoded[i].begin(), encoded[i].end());
    ids.push_back(tokenizer.end());
    corpus.add(std::move(ids), 1, static_cast<int64_t>(contents[i].size()), tokenizer.unknown(encoded[i]));
  }
  return corpus;
}

Data load_data(const Settings& s, const std::string& folder) {
  const std::vector<TextFile> files = read_texts(s.train, s.suffixes);
  const double held_out = s.valid.is_default() ? s.held_out.value : 0;
  std::vector<std::string_view> train, valid;
  for (const TextFile& file : files) {
    const std::string_view text = file.content;
    const size_t begin = held_out_begin(text, held_out);
    train.push_back(text.substr(0, begin));
    valid.push_back(text.substr(begin));
  }
  const auto none = [](const std::vector<std::string_view>& parts) {
    return std::all_of(parts.begin(), parts.end(), [](std::string_view part) { return part.empty(); });
  };
  if (none(train) || (none(valid) && s.valid.is_default()))
    throw InputError(files[0].path + (files.size() > 1 ? " and others" : "") +
                     ": too short for --held-out to leave something on both sides; name other files with --valid");
  Data data{folder.empty() ? Tokenizer::learn(train, s.vocab_size) : Tokenizer::load(folder, s.vocab_size),
            {},
            {},
            files.size()};
  if (!s.valid.is_default()) {
    data.train = whole_files(files, data.tokenizer);
    data.valid = whole_files(read_texts(s.valid, s.suffixes), data.tokenizer);
    return data;
  }
  const auto first = data.tokenizer.encode(train), second = data.tokenizer.encode(valid);
  for (size_t i = 0; i < files.size(); ++i) {
    std::vector<int32_t> ids{data.tokenizer.end()};
    ids.insert(ids.end(), first[i].begin(), first[i].end());
    std::vector<int32_t> held_out_ids(ids.end() - std::min<int64_t>(s.context, ids.size()), ids.end());
    const auto given = static_cast<int64_t>(held_out_ids.size());
    held_out_ids.insert(held_out_ids.end(), second[i].begin(), second[i].end());
    data.train.add(std::move(ids), 1, static_cast<int64_t>(train[i].size()), data.tokenizer.unknown(first[i]));
    data.valid.add(std::move(held_out_ids), given, static_cast<int64_t>(valid[i].size()),
                   data.tokenizer.unknown(second[i]));
  }
  return data;
}

std::string fingerprint_of(const Corpus& train, const Corpus& valid) {
  const auto bytes = [](const Corpus& corpus) {
    std::string all;
    for (size_t text = 0; text < corpus.texts.size(); ++text) {
      const auto targets = std::as_bytes(corpus.targets(text));
      all.append(reinterpret_cast<const char*>(targets.data()), targets.size());
    }
    return all;
  };
  return fingerprint(bytes(train), bytes(valid));
}

std::vector<Context> cut(const Corpus& corpus, int64_t length, difftensor::Random& random) {
  std::vector<Context> contexts;
  for (size_t text = 0; text < corpus.texts.size(); ++text) {
    // The last id is predicted, and predicts nothing.
    const int64_t last = static_cast<int64_t>(corpus.texts[text].size()) - 1, first = corpus.given[text] - 1;
    int64_t begin = first - static_cast<int64_t>(random.below(static_cast<uint64_t>(length)));
    for (; begin < last && first < last; begin += length) {
      const int64_t from = std::max<int64_t>(begin, 0);
      contexts.push_back({text, from, std::min(begin + length, last) - from});
    }
  }
  return contexts;
}

Batch make_batch(const Corpus& corpus, std::span<const Context> contexts) {
  Batch batch;
  for (const Context& c : contexts) {
    const auto ids = corpus.texts[c.text].begin() + c.begin;
    batch.ids.insert(batch.ids.end(), ids, ids + c.length);
    for (int64_t i = 1; i <= c.length; ++i) {
      const bool counts = c.begin + i >= corpus.given[c.text];
      batch.targets.push_back(counts ? ids[i] : no_target);
      batch.predicted += counts;
    }
    batch.lengths.push_back(c.length);
  }
  return batch;
}

std::vector<std::span<const Context>> runs_of(std::span<const Context> contexts, int64_t tokens) {
  std::vector<std::span<const Context>> runs;
  int64_t sum = 0;
  for (size_t i = 0, begin = 0; i < contexts.size(); ++i) {
    sum += contexts[i].length;
    if (sum < tokens && i + 1 < contexts.size()) continue;
    runs.push_back(contexts.subspan(begin, i + 1 - begin));
    begin = i + 1, sum = 0;
  }
  return runs;
}

}  // namespace language_model
