#pragma once
// Distractors: what is to be translated is marked, and an unrelated sentence stands beside it.
//
//   a dog runs . ⟦ two men cook . ⟧        ->  zwei männer kochen .
//
// Differential attention is said to look past what is of no use (arXiv 2410.05258). Here it is clear what that is.
#include "core/random.h"
#include "examples/text/corpus.h"

namespace translate {

using text::Pair, text::Pairs, text::Sentences;

/// Where the unrelated sentence stands.
enum class Place { nowhere, before, after };

/// A source with its marks, and `other` beside it unless that stands nowhere.
std::string marked(const std::string& source, const std::string& other, Place place);

/// For each sentence the number of another one, of another text, drawn at random. Throws InputError if all are the
/// same.
std::vector<size_t> draw_others(const Sentences& sentences, difftensor::Random& random);

/// The pairs with their sources marked, a share of them beside the source of another pair: as often before as after it.
/// Targets stay as they are. Throws InputError if there is no other source, or one holds a mark already.
Pairs with_distractors(const Pairs& pairs, double share, difftensor::Random random);

/// The sources of a test set, marked, all with their distractor at this place. They are the same distractors at each
/// place, and the same each time.
std::vector<std::string> test_sources(const Pairs& pairs, Place place);

}  // namespace translate
