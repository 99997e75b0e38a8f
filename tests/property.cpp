// Random shapes, values and flags for every op: it is its definition, forward and backward.
#include "tests/property.h"

#include <doctest/doctest.h>

#include <map>

using namespace property;

TEST_CASE("property: every op is its definition, and its gradient the definition's") {
  const Threads one(1);  // waking others for tiny results takes longer than the work
  for (const Kind& kind : all_kinds()) {
    Quotients all;
    for (int i = 0; i < cases(400); ++i) {
      Draw draw(kind.name, i);
      INFO("DT_PROPERTY_SEED=", seed(), ", ", kind.name, ", case ", i);
      const Case c = kind.draw(draw);
      const Quotients one = check(c, draw);
      all.taken += one.taken, all.kinks += one.kinks;
    }
    CHECK_MESSAGE(all.kinks <= 2 + all.taken / 100, kind.name, " has ", all.kinks, " kinks in ", all.taken,
                  " elements");
  }
}

TEST_CASE("property: every op that is declared has a kind of random case for each of its declarations") {
  std::map<std::string, int> have;
  for (const Kind& kind : all_kinds()) ++have[kind.name.substr(0, kind.name.find(' '))];
  std::map<std::string, int> declared;
  for (const std::string& name : declared_ops()) ++declared[name];
  for (const auto& op : declared)
    CHECK_MESSAGE(have[op.first] >= op.second, op.first, " is declared ", op.second, " times");
  CHECK(declared.size() > 80);
}
