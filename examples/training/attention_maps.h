#pragma once
// The attention maps of a trained model, head by head.
#include <deque>
#include <string>
#include <vector>

#include "examples/training/attention_chart.h"
#include "examples/training/lambdas.h"

namespace training {

/// What one head attends to: T queries, S keys.
struct HeadMaps {
  difftensor::Tensor a1;          ///< (T, S), rows of sum 1; the only map of softmax attention
  difftensor::Tensor a2;          ///< (T, S); softmax attention has none, and no lambda: both are undefined
  difftensor::Tensor lambda;      ///< a scalar, or (T, 1): one for each query
  difftensor::Tensor difference;  ///< (T, S): A1 - lambda A2, by which values are weighed; for softmax attention A1
};

/// The maps of every head, from what a call of attend() left: of one sentence of its batch, by number from 0.
std::vector<HeadMaps> head_maps(const difftensor::nn::AttentionTrace& trace, size_t sentence);
/// Those of a batch of one sentence (throws on more).
std::vector<HeadMaps> head_maps(const difftensor::nn::AttentionTrace& trace);

/// Those of several layers: [layer][head].
std::vector<std::vector<HeadMaps>> head_maps(const std::deque<AttentionListener>& layers);

/// The maps of differential attention in one head, numbered from 1, to be drawn. The title is `where` and the two
/// numbers; the tokens are for the caller to add.
AttentionFigure figure_of(const std::vector<std::vector<HeadMaps>>& layers, size_t layer, size_t head,
                          const std::string& where);
/// Those of the layer and head that look most decidedly: where the largest entry of a row of A1 - lambda A2 is largest
/// on average.
AttentionFigure most_decided_head(const std::vector<std::vector<HeadMaps>>& layers, const std::string& where);

}  // namespace training
