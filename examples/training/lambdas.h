#pragma once
// Looking at what attention layers compute, and how much of their second map they subtract.
#include <deque>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "models/transformer_layer.h"
#include "nn/attention.h"

namespace training {

using NamedAttentions = std::vector<std::pair<std::string, difftensor::nn::Attention*>>;

/// Every attention of a stack, in order, under such names as "layers.0.self_attn", with `prefix` before each.
NamedAttentions attentions_of(const difftensor::models::TransformerStack& stack, const std::string& prefix = "");
std::vector<std::string> names_of(const NamedAttentions& attentions);

/// What an attention layer computes in its last call, while this object lives. Meanwhile only one thread may call the
/// layer, so nothing may be decoded.
class AttentionListener {
 public:
  explicit AttentionListener(difftensor::nn::Attention& attention) : attention_(attention) {
    attention_.trace = &trace;
  }
  ~AttentionListener() { attention_.trace = nullptr; }
  AttentionListener(const AttentionListener&) = delete;
  AttentionListener& operator=(const AttentionListener&) = delete;

  difftensor::nn::AttentionTrace trace;

 private:
  difftensor::nn::Attention& attention_;
};

/// The lambdas of some differential attentions, in what they compute while this object lives.
class LambdaMeter {
 public:
  explicit LambdaMeter(const NamedAttentions& attentions);

  /// Appends, for each attention, the sum over tokens and heads of the last call, and their number.
  void append_sums(std::vector<double>& sums) const;
  /// The mean of each attention, of sums that begin there and were added up over calls.
  static std::vector<double> means(std::span<const double> sums);

 private:
  std::deque<AttentionListener> attentions_;
};

}  // namespace training
