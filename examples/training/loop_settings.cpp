#include "examples/training/loop_settings.h"

#include <algorithm>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "examples/text/files.h"

namespace training {

void LoopSettings::forget_limits(const nlohmann::json& given) {
  if (given.contains("max_epochs")) max_updates = 0;
  if (given.contains("max_updates")) max_epochs = 0;
}

void LoopSettings::check() const {
  // What AdamW multiplies each weight by, 1 - lr weight_decay, must be positive. Written so that NaN fails too.
  if (!(weight_decay >= 0 && static_cast<difftensor::Scalar>(1 - weight_decay * lr) > 0))
    throw text::InputError(text::format("--weight-decay %.9g: must be from 0 to below 1 / lr", weight_decay.value));
  if (min_lr > lr) throw text::InputError(text::format("--min-lr %.9g: is more than --lr", min_lr.value));
}

int64_t LoopSettings::total_updates(int64_t updates_per_epoch) const {
  const int64_t forever = std::numeric_limits<int64_t>::max() / 2;  // so that one can be added
  const bool endless = max_epochs == 0 || max_epochs > forever / updates_per_epoch;
  return std::min(endless ? forever : max_epochs * updates_per_epoch,
                  max_updates == 0 ? forever : std::min(max_updates.value, forever));
}

difftensor::optim::Schedule LoopSettings::learning_rate(int64_t updates) const {
  if (schedule == "inverse-sqrt") return difftensor::optim::inverse_sqrt(lr, warmup);
  return difftensor::optim::cosine(lr, warmup, std::max(warmup.value, updates) + 1, min_lr / lr);
}

std::string LoopSettings::remark(int64_t updates) const {
  if (updates >= warmup) return "";
  return text::format("--warmup %ld is longer than the training: its last update, %ld, has the learning rate %.3g\n",
                      warmup.value, updates, learning_rate(updates)(updates));
}

namespace {
bool is_end(const std::string& name) { return name == "max_epochs" || name == "max_updates"; }
}  // namespace

bool may_change(const SettingBase& setting, const nlohmann::json& settings) {
  return setting.on_resume == OnResume::may_change && !(is_end(setting.name) && settings.at("schedule") == "cosine");
}

bool change_for_resume(SettingList& settings, const nlohmann::json& given, const std::string& folder) {
  const nlohmann::json before = settings.json();
  settings.change(given, "the command line");
  settings.resolve();
  const nlohmann::json after = settings.json();
  std::map<std::string, bool> allowed;  // in the order of the alphabet
  for (const SettingBase* setting : settings.all()) allowed[setting->name] = may_change(*setting, after);

  bool end_changes = false;
  std::string refused;
  for (const auto& [name, may_change] : allowed) {
    if (after[name] == before[name]) continue;
    end_changes |= is_end(name);
    if (may_change) continue;
    refused += (refused.empty() ? "" : ", ") + name + " from " + before[name].dump() + " to " + after[name].dump();
  }
  if (!refused.empty())
    throw text::InputError(folder + ": --resume cannot change " + refused +
                           (end_changes && after["schedule"] == "cosine"
                                ? " (a cosine schedule is made for its last update; inverse-sqrt can "
                                  "go on for longer)"
                                : ""));
  return end_changes;
}

}  // namespace training
