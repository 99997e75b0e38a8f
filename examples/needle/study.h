#pragma once
// The studies: which trainings, and when one counts as a success.
#include "examples/training/study.h"

namespace needle {

using training::Records, training::Study, training::Trial;

/// quick, first, confirmatory. An arm's learning rate is the one with the fewest updates to 99%, where a training that
/// never came there counts as all updates; of equals, the one with the lower loss at the end.
///
/// The confirmatory study was fixed before its first training: the claim is that differential attention learns to tell
/// needles from near keys where its control does not. Tested is the share of seeds whose accuracy on the task as
/// trained is 98% or more at the end, by Fisher's exact test, one-sided at 0.05, of `diff` against `softmax-wide-norm`;
/// all other comparisons of it are told, but not tested. It stands or falls with that one number, which is published
/// either way.
const std::vector<Study>& studies();
/// One of them, with so many updates instead of its own if not 0. Throws text::InputError naming those that there are.
Study study_named(const std::string& name, int64_t updates);
constexpr double solved_accuracy = 0.98;
bool is_solved(const nlohmann::json& record);

/// Throws text::InputError, naming the first record that was scored by other --check-sequences than one before it: they
/// cannot be compared. `path` stands for the records in the message. (Early records do not tell.)
void require_comparable(const Records& records, const std::string& path);

/// The first update at which a curve is at this accuracy; 0 if it never is.
int64_t updates_to(double accuracy, const nlohmann::json& record);

}  // namespace needle
