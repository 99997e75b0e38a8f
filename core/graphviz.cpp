// A picture of a graph, in the DOT language of Graphviz.
#include <algorithm>
#include <sstream>
#include <unordered_map>

#include "core/autograd.h"

namespace difftensor::inline DT_PRECISION {

std::string graphviz(const Tensor& result) {
  require(result.needs_grad(), "graphviz", "this result has no graph");
  // Every node that the result depends on, leaves included, with its place in the picture. (Node numbers will not do as
  // names: each thread counts its own, so leaves made on two threads may share one.)
  std::vector<const Node*> nodes{result.node().get()};
  std::unordered_map<const Node*, size_t> place{{nodes[0], 0}};
  for (size_t next = 0; next < nodes.size(); ++next)
    for (auto& input : nodes[next]->inputs)
      if (input && place.try_emplace(input.get(), 0).second) nodes.push_back(input.get());
  std::sort(nodes.begin(), nodes.end(), [](const Node* a, const Node* b) { return a->number < b->number; });
  for (size_t i = 0; i < nodes.size(); ++i) place[nodes[i]] = i + 1;

  std::ostringstream dot;
  dot << "digraph {\n  rankdir=LR; node [shape=box, style=rounded, fontname=\"sans-serif\"];\n";
  for (const Node* n : nodes) {
    dot << "  n" << place[n] << " [label=\"" << n->op << "\\n"
        << n->shape << "\"" << (n->leaf ? ", style=filled" : "") << "];\n";
    for (auto& input : n->inputs)
      if (input) dot << "  n" << place[input.get()] << " -> n" << place[n] << ";\n";
  }
  dot << "}\n";
  return dot.str();
}

}  // namespace difftensor::inline DT_PRECISION
