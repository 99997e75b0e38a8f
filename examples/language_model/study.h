#pragma once
// The study: is the loss of differential attention lower than that of its controls, on this text? What is trained, and
// what is compared, was fixed before the first training.
#include <map>

#include "examples/language_model/settings.h"
#include "examples/training/statistics.h"
#include "examples/training/study.h"

namespace language_model {

/// Six arms on the text of this name: three with differential attention, and beside each the softmax that is like it in
/// all but the second map. An arm's learning rate is the one with the least loss on held-out text, summed over two
/// seeds that are not reported; then ten are, of 400 updates each. Or so many updates and seeds, if not 0.
Study study_of(const std::string& text, int64_t updates = 0, int seeds = 0);

/// What all its trainings have in common, where the defaults do not say it. The learning rate of an update does not
/// depend on how many there will be (inverse-sqrt), so that each point of a curve is the end of a shorter training.
nlohmann::json study_settings();

/// The settings of a training but for those by which arms, seeds and learning rates differ, and for where the text
/// lies.
nlohmann::json shared_settings(const Settings& settings);
/// Throws InputError, naming the first record that is not of the same text and settings as the one before it: they
/// cannot be compared. `path` stands for the records in the message.
void require_comparable(const Records& records, const std::string& path);

/// A difference that is told: an arm's loss less its control's. Below zero, the arm predicts better.
struct Comparison {
  std::string arm, control, purpose;

  std::string name() const { return arm + " − " + control; }
};
/// The first is the primary one: it alone is tested. The claim that the subtraction lowers the loss stands on a text if
/// the 95% interval of this difference (paired t, loss at equal updates) lies below zero, and falls if it does not. The
/// others are told without a claim.
const std::vector<Comparison>& comparisons();

/// Which arm had made how many updates, when the fastest arm was done.
///
/// An arm's cost is the median, over its reported seeds, of CPU seconds an update (validations not counted). The
/// fastest arm is done after its cost times the study's updates; in that time, another arm has made fewer.
struct EqualTime {
  double seconds = 0;                     ///< of CPU, for a training of the fastest arm
  std::map<std::string, double> updates;  ///< of each arm; none of those whose cost no record tells
};
EqualTime equal_time(const std::vector<ArmRecords>& arms, int64_t updates);
/// The loss on held-out text after so many updates: on the line between the two validations around.
double loss_after(double updates, const nlohmann::json& record);

/// A paired difference, told in two ways.
struct Difference {
  std::vector<double> seeds;    ///< of each seed
  double mean = 0;              ///< of them
  Interval student, bootstrap;  ///< 95%; without bounds if there is one seed
};
/// Of seeds of which there is at least one.
Difference difference_of(const std::vector<double>& seeds);

}  // namespace language_model
