// A picture of a graph, in the DOT language of Graphviz.
#include <algorithm>
#include <sstream>
#include <unordered_map>

#include "core/autograd.h"

namespace difftensor::inline DT_PRECISION {

std::string graphviz(const Tensor& result) {
  require(result.needs_grad(), "graphviz", "this result has no graph");
  // Every node that the result depends on, leaves included, with its place in the picture: 1, 2, ... from the leaves to
  // the result.
  std::vector<const Node*> nodes;
  std::unordered_map<const Node*, size_t> place{{result.node().get(), 0}};
  std::vector<std::pair<const Node*, size_t>> path{{result.node().get(), 0}};  // nodes, and which input is next
  while (!path.empty()) {
    auto& [node, next] = path.back();
    if (next == node->inputs.size()) {
      nodes.push_back(node);
      place[node] = nodes.size();
      path.pop_back();
    } else if (const Node* input = node->inputs[next++].get(); input && place.try_emplace(input, 0).second) {
      path.emplace_back(input, 0);
    }
  }

  const auto quoted = [](std::string_view op) {
    std::string text;
    for (const char c : op) (c == '"' || c == '\\' ? text += '\\' : text) += c;
    return text;
  };
  std::ostringstream dot;
  dot << "digraph {\n  rankdir=LR; node [shape=box, style=rounded, fontname=\"sans-serif\"];\n";
  for (const Node* n : nodes) {
    dot << "  n" << place[n] << " [label=\"" << quoted(n->op) << "\\n"
        << n->shape << "\"" << (n->leaf ? ", style=filled" : "") << "];\n";
    for (auto& input : n->inputs)
      if (input) dot << "  n" << place[input.get()] << " -> n" << place[n] << ";\n";
  }
  dot << "}\n";
  return dot.str();
}

}  // namespace difftensor::inline DT_PRECISION
