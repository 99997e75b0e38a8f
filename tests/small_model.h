#pragma once
// Models small enough to try everything with.
#include <doctest/doctest.h>

#include "models/transformer.h"

inline difftensor::models::TransformerConfig small_config(difftensor::models::AttentionKind attention,
                                                           difftensor::models::Style style) {
  difftensor::models::TransformerConfig c;
  c.vocab = 23, c.d_model = 16, c.heads = 2, c.ff = 24, c.encoder_layers = c.decoder_layers = 2;
  c.attention = attention, c.style = style;
  return c;
}

// Runs f(config) for every attention and style.
template <class F>
void every_model(F f) {
  using difftensor::models::AttentionKind, difftensor::models::Style;
  for (AttentionKind attention : {AttentionKind::softmax, AttentionKind::diff, AttentionKind::diff_v2})
    for (Style style : {Style::llama, Style::vaswani}) {
      CAPTURE(to_string(attention));
      CAPTURE(to_string(style));
      f(small_config(attention, style));
    }
}
