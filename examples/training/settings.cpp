#include "examples/training/settings.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>

#include "core/json.h"
#include "examples/text/files.h"
#include "examples/text/unicode.h"
#include "examples/training/options.h"

namespace training {

using nlohmann::json, text::InputError;

namespace {

// Whether a value can be that of a setting whose default is `like`.
bool fits(const json& value, const json& like) {
  if (like.is_number_unsigned()) return value.is_number_unsigned();
  if (like.is_number_integer()) return value.is_number_integer();
  if (like.is_array() && value.is_array())
    return std::all_of(value.begin(), value.end(), [](const json& item) { return item.is_string(); });
  return like.is_number() ? value.is_number() : value.type() == like.type();
}

std::string kind(const json& like) {
  return like.is_number_unsigned()  ? "a whole number, not negative"
         : like.is_number_integer() ? "a whole number"
         : like.is_number()         ? "a number"
         : like.is_boolean()        ? "true or false"
         : like.is_array()          ? "a list of strings"
                                    : "a string";
}

}  // namespace

// --- The list -----------------------------------------------------------------------------------------------------

json SettingList::json() const {
  nlohmann::json values;
  for (const SettingBase* setting : all_) values[setting->name] = setting->json();
  return values;
}

void SettingList::update(const nlohmann::json& values, const std::string& source) {
  if (!values.is_object()) throw InputError(source + ": not a JSON object of settings");
  for (const auto& [key, value] : values.items()) {
    const auto at =
        std::find_if(all_.begin(), all_.end(), [&key = key](const SettingBase* s) { return s->name == key; });
    if (at == all_.end()) throw InputError(source + ": \"" + key + "\" is no setting");
    SettingBase& setting = **at;
    if (const nlohmann::json like = setting.json(); !fits(value, like))
      throw InputError(source + ": \"" + key + "\" must be " + kind(like) + ", not " + value.dump() +
                       (like.is_number_integer() && value.is_number_float() ? " (no point, no exponent)" : ""));
    setting.set(value);
    if (setting.json() != value) throw InputError(source + ": \"" + key + "\": " + value.dump() + " is too large");
  }
}

void SettingList::read(const std::string& path) { update(text::read_json(path), path); }

void SettingList::resolve() {
  for (const SettingBase* setting : all_) setting->check();
}

void SettingList::add_options(CLI::App& command) {
  for (SettingBase* setting : all_) setting->add_option(command);
}

json SettingList::given(const CLI::App& command) const {
  nlohmann::json values = nlohmann::json::object();
  for (const SettingBase* setting : all_) {
    if (command.get_option(setting->flag())->count() == 0) continue;
    setting->check_typed();
    values[setting->name] = setting->json();
  }
  return values;
}

void SettingList::assign(const SettingList& other) {
  for (size_t i = 0; i < all_.size(); ++i) all_[i]->set(other.all_[i]->json());
}

// --- One setting --------------------------------------------------------------------------------------------------

SettingBase::SettingBase(const Group& group, std::string name, std::string help, OnResume on_resume)
    : name(std::move(name)), group(group.name), help(std::move(help)), on_resume(on_resume) {
  group.list.all_.push_back(this);
}

std::string SettingBase::flag() const {
  std::string flag = "--" + name;
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

namespace {

// What a value is where it is used: the tensors' numbers may be narrower than a setting's.
template <class T>
T as_used(const T& value) {
  return value;
}
double as_used(const double& value) { return static_cast<double>(static_cast<difftensor::Scalar>(value)); }

std::string written(const std::string& value) { return value; }
std::string written(const std::vector<std::string>& value) { return value.empty() ? "" : value[0]; }
std::string written(bool value) { return value ? "true" : "false"; }
template <class T>
std::string written(T value) {
  char text[32];  // as many digits as tell it from every other: 0.99999999, not 1
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

// What no value of its type may be.
template <class T>
void check_kind(const std::string&, const T&) {}
void check_kind(const std::string& flag, const double& value) {
  const double used = as_used(value);
  if (std::isfinite(value) && (!std::isfinite(used) || (value != 0 && used == 0)))
    throw InputError(flag + " " + written(value) + ": is too " + (used == 0 ? "small" : "large") +
                     " for the numbers that are computed with");
}
void check_kind(const std::string& flag, const std::string& value) {
  if (value.empty()) throw InputError(flag + ": is empty");
  if (value.find('\0') != value.npos) throw InputError(flag + " " + value + ": has a NUL in it");
  if (text::find_invalid_utf8(value) != value.npos)
    throw InputError(flag + " " + value + ": is not UTF-8, which config.json is in");
}
void check_kind(const std::string& flag, const std::vector<std::string>& values) {
  for (const std::string& value : values) check_kind(flag, value);
}

}  // namespace

template <class T>
nlohmann::json Setting<T>::json() const {
  return value;
}

template <class T>
void Setting<T>::set(const nlohmann::json& json) {
  value = json.get<T>();
}

template <class T>
void Setting<T>::check() const {
  if (!is_default()) check_typed();
}

template <class T>
void Setting<T>::check_typed() const {
  check_kind(flag(), value);
  if (check_.allows && !check_.allows(as_used(value)))
    throw InputError(flag() + " " + written(value) + ": " + check_.rule);
}

template <class T>
void Setting<T>::add_option(CLI::App& command) {
  CLI::Option* option;
  if constexpr (std::is_same_v<T, bool>)
    option = command.add_flag(flag(), value, help);
  else
    option = command.add_option(flag(), value, help);
  option->group(group);
  if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>)
    option->check(whole_number(check_.least, std::min<uint64_t>(check_.most, std::numeric_limits<T>::max())));
  // A default that stands for something else is told in the help.
  if (value != T() && value != T(-1) && !std::is_same_v<T, bool>) option->capture_default_str();
}
template <>
void Setting<std::string>::add_option(CLI::App& command) {
  CLI::Option* option = command.add_option(flag(), value, help)->group(group);
  if (!value.empty()) option->capture_default_str();
}

template class Setting<bool>;
template class Setting<int>;
template class Setting<int64_t>;
template class Setting<uint64_t>;
template class Setting<double>;
template class Setting<std::string>;
template class Setting<std::vector<std::string>>;

Check<std::string> one_of(std::vector<std::string> words) {
  std::string rule = "there are ";
  for (size_t i = 0; i < words.size(); ++i) rule += (i == 0 ? "" : i + 1 < words.size() ? ", " : " and ") + words[i];
  return {[words](const std::string& x) { return std::find(words.begin(), words.end(), x) != words.end(); }, rule};
}

}  // namespace training
