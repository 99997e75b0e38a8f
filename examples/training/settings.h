#pragma once
// A setting, said once: its name, default, help and check. From that follow a member to read it by, a key of
// config.json, a flag of the command line with its line of --help, and whether --resume may change it.
//
//   struct Mine : training::SettingList {
//     Group model{*this, "Model"};
//     Setting<int64_t> layers{model, "layers", 4, "layers of each stack", at_least<int64_t>(1)};
//   };
//   Mine s;                       if (s.layers > 2) ...          {"layers": 4} <-> --layers 4
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace training {

class SettingBase;

/// All settings of a program, in the order of their declaration.
class SettingList {
 public:
  SettingList() = default;
  // Each setting is known here by its address. A copy makes settings of its own and takes over the values.
  SettingList(const SettingList&) = delete;
  virtual ~SettingList() = default;

  /// Every setting by name.
  nlohmann::json json() const;
  /// Takes over what a JSON object says; `source` stands for it in messages. Throws text::InputError naming a key that
  /// is no setting, or has a value of another type.
  void update(const nlohmann::json& values, const std::string& source);
  /// The same for settings that are to win over earlier ones. Where some put others out of force (a new preset the
  /// sizes of the old one), a program says so here.
  virtual void change(const nlohmann::json& values, const std::string& source) { update(values, source); }
  /// update() from a file. Throws text::InputError naming the file and the key.
  void read(const std::string& path);
  /// Checks every setting. A program overrides it to fill in first what depends on other settings. Throws
  /// text::InputError: "--lr -1: must be positive and finite".
  virtual void resolve();

  /// Makes flags of all, for the command line to write to.
  void add_options(CLI::App& command);
  /// Those that were given on the command line.
  nlohmann::json given(const CLI::App& command) const;

  const std::vector<SettingBase*>& all() const { return all_; }

 protected:
  /// Takes over the values of a list of the same settings.
  void assign(const SettingList& other);

 private:
  friend class SettingBase;
  std::vector<SettingBase*> all_;
};

/// Settings that belong together: a heading of --help.
struct Group {
  SettingList& list;
  std::string name;
};

/// May --resume change it? Yes only if the training so far would have been the same.
enum class OnResume { stays, may_change };

/// What the list knows of each setting, whatever its type.
class SettingBase {
 public:
  SettingBase(const Group& group, std::string name, std::string help, OnResume on_resume);
  SettingBase(const SettingBase&) = delete;
  virtual ~SettingBase() = default;

  /// "batch_tokens" -> "--batch-tokens"
  std::string flag() const;
  virtual nlohmann::json json() const = 0;
  /// From a JSON value of the right type.
  virtual void set(const nlohmann::json& value) = 0;
  /// Throws text::InputError if the value is not allowed: as it is used, in float.
  virtual void check() const = 0;
  /// check() for a value that somebody typed: one that is the default's is no exception then.
  virtual void check_typed() const = 0;
  virtual void add_option(CLI::App& command) = 0;

  const std::string name, group;
  std::string help;  ///< a program may say it its own way
  const OnResume on_resume;
};

/// What a value must keep to; rule: "must be positive".
template <class T>
struct Check {
  std::function<bool(const T&)> allows = {};  ///< empty: everything
  std::string rule = "";
  int64_t least = 0;  ///< of a whole number
  uint64_t most = std::numeric_limits<uint64_t>::max();
};

/// A value of type bool, int, int64_t, uint64_t, double, std::string or std::vector<std::string>. The default is always
/// allowed: often one that the check would refuse stands for "as other settings say", as 0 layers for those of the
/// preset; the help says so.
template <class T>
class Setting : public SettingBase {
 public:
  Setting(const Group& group, const char* name, T value, const char* help, Check<T> check = {},
          OnResume on_resume = OnResume::stays)
      : SettingBase(group, name, help, on_resume), value(value), default_(value), check_(std::move(check)) {}

  operator const T&() const { return value; }
  Setting& operator=(const T& other) {
    value = other;
    return *this;
  }
  /// Does it still stand for "as other settings say"?
  bool is_default() const { return value == default_; }
  void reset() { value = default_; }

  nlohmann::json json() const override;
  void set(const nlohmann::json& json) override;
  void check() const override;
  void check_typed() const override;
  void add_option(CLI::App& command) override;

  T value;

 private:
  const T default_;
  const Check<T> check_;
};
inline bool operator==(const Setting<std::string>& setting, const char* word) { return setting.value == word; }

template <class T>
Check<T> at_least(T least) {
  return {[least](const T& x) { return x >= least; }, "must be at least " + std::to_string(least),
          static_cast<int64_t>(least)};
}
template <class T>
Check<T> between(T least, T most) {
  return {[=](const T& x) { return least <= x && x <= most; },
          "must be from " + std::to_string(least) + " to " + std::to_string(most), static_cast<int64_t>(least),
          static_cast<uint64_t>(most)};
}
// Written so that NaN fails too.
inline Check<double> positive() {
  return {[](double x) { return x > 0 && std::isfinite(x); }, "must be positive and finite"};
}
/// In [0, 1).
inline Check<double> fraction() {
  return {[](double x) { return x >= 0 && x < 1; }, "must be in [0, 1)"};
}
/// One of these words.
Check<std::string> one_of(std::vector<std::string> words);

}  // namespace training
