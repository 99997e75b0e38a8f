#pragma once
// The study: is the loss of differential attention lower than that of its controls, on this text? What is trained, and
// what is compared, was fixed before the first training.
#include <map>

#include "examples/language_model/settings.h"
#include "examples/training/statistics.h"
#include "examples/training/study.h"

namespace language_model {

/// Six arms on the text of this name: three with differential attention, and beside each the softmax that is like it in
/// all but the second map and its price (examples/training/arms.h). An arm's learning rate is the one with the least
/// loss on held-out text, summed over two seeds that are not reported; then ten are, of 400 updates each. Or so many
/// updates and seeds, if not 0.
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

/// How many updates each training had made when the fastest arm of its seed was done: a race in each seed, so that an
/// interval over seeds knows how far costs differ from run to run. (A cost is of CPU seconds an update, without
/// validations.) Trainings whose record tells no cost are left out.
using EqualTime = std::map<std::pair<std::string, uint64_t>, double>;  // of arm and seed
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
