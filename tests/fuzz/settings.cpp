// config.json, and settings that are to change a run that goes on: two JSON texts.
#include "examples/translate/settings.h"

#include <nlohmann/json.hpp>

#include "tests/fuzz/fuzz.h"

namespace fuzz {

const Memory memory{256 << 10, 400};

void fuzz(std::string_view input) {
  const std::vector<std::string> texts = parts(input, 2);
  const std::string path = file("config.json", texts[0]), given_path = file("given.json", texts[1]);
  translate::Settings settings;
  if (!reads<text::InputError>(path, [&] { training::read_run_settings(folder(), settings); })) return;
  const nlohmann::json values = settings.json();
  check(translate::Settings(settings).json() == values, "a copy has the same values");

  file("config.json", values.dump());
  translate::Settings again;
  training::read_run_settings(folder(), again);
  check(again.json() == values, "settings are read back", values.dump() + "\n" + again.json().dump());

  // As --resume --config does.
  translate::Settings given;
  if (!reads<text::InputError>(given_path, [&] { given.read(given_path); })) return;
  const nlohmann::json changes = text::read_json(given_path);
  reads<text::InputError>("", [&] {
    training::change_for_resume(settings, changes, folder());
    settings.resolve();
    for (const auto* setting : settings.all())
      check(setting->on_resume == training::OnResume::may_change || values[setting->name] == setting->json(),
            "--resume changes nothing that would have changed the training", setting->name);
  });
}

}  // namespace fuzz
