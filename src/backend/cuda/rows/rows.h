// SPDX-License-Identifier: Apache-2.0
// Launchers of the row-wise kernels, one file each; contracts are those of ops/elementwise.h and ops/choose_tokens.h.
#pragma once

#include "ops/choose_tokens.h"
#include "ops/elementwise.h"

namespace braid::cuda {

void embed(const ops::Embed::Args& args, braid::Stream& stream);
void rms_norm(const ops::RmsNorm::Args& args, braid::Stream& stream);
void mla_store(const ops::MlaStore::Args& args, braid::Stream& stream);
void mla_query(const ops::MlaQuery::Args& args, braid::Stream& stream);
void mla_gather(const ops::MlaGather::Args& args, braid::Stream& stream);
void gqa_prepare(const ops::GqaPrepare::Args& args, braid::Stream& stream);
void choose_tokens(const ops::ChooseTokens::Args& args, braid::Stream& stream);

}  // namespace braid::cuda
