// train_log.csv and lambda.csv, with a byte 0xFF between them; and the charts of what they tell.
#include <filesystem>

#include "examples/text/files.h"
#include "examples/training/charts.h"
#include "examples/training/csv_log.h"
#include "examples/training/history.h"
#include "tests/fuzz/fuzz.h"

namespace fuzz {

const Memory memory{256 << 10, 500};

void fuzz(std::string_view input) {
  const std::vector<std::string> logs = parts(input, 2);
  const std::string log = file("train_log.csv", logs[0]), lambdas = file("lambda.csv", logs[1]);
  training::TrainingHistory history;
  if (reads<text::InputError>(folder(), [&] { history = training::read_history(folder()); })) {
    check_svg(training::training_chart(log, history));
    check_svg(training::comparison_chart({{log, history.valid_loss}, {"", history.train_loss}}));
  }

  // As a training that goes on after update 100 opens it.
  std::vector<training::CsvRow> rows;
  if (!reads<std::runtime_error>(log, [&] { rows = training::CsvLog(log, {"update", "loss"}, 100).rows(); })) return;
  const std::string written = bytes_of(log);
  {
    training::CsvLog again(log, {"update", "loss"}, 100);
    check(again.rows() == rows, "lines are read back");
    check(bytes_of(log) == written, "and written back");
    again.add({{"update", "101"}, {"loss", "0.5"}});
  }
  check(bytes_of(log).size() > written.size(), "a line is added");
  check(training::CsvLog(log, {"update", "loss"}, 100).rows() == rows, "later lines are dropped");
}

}  // namespace fuzz
