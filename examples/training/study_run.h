#pragma once
// All trainings of a study: as many at once as it is told, stopped and gone on with at any moment.
#include <memory>

#include "examples/training/settings.h"
#include "examples/training/study.h"

namespace training {

/// How a study's trainings are run, and where to.
struct StudyRun {
  std::string program;  ///< this one, as its user calls it
  std::string runs;     ///< the folder of the run folders
  std::string records;  ///< the file of records
  int jobs;             ///< trainings at once
  /// All settings of a training, resolved.
  std::function<std::unique_ptr<SettingList>(const Trial&)> settings;
  std::function<std::string(const nlohmann::json& record)> outcome;  ///< how a training went, in a few words
  std::string go_on;                                                 ///< what the program is to be told to go on
  std::function<nlohmann::json()> of_astray = {};  ///< what else the record of a training that went astray tells
};

/// Runs all trials of the study that the file of records lacks, as processes of their own (`train` on one thread each),
/// and adds their records to it: what each leaves in its run folder as record.json, and which trial it is of. One that
/// went astray is recorded as such: it would do so again. Throws Interrupted after the first SIGINT or SIGTERM, when all
/// that is at work has saved, and InputError if another process is at work with the records, if a training was begun with
/// other settings in its run folder, or in the end if some failed.
void run_study(const Study& study, const StudyRun& how);

}  // namespace training
