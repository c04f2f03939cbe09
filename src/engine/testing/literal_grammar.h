// SPDX-License-Identifier: Apache-2.0
// A grammar that allows one fixed text, given as token ids separated by spaces.
#pragma once

#include <cstdint>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "sample/testing/literal_matcher.h"

namespace braid::engine::testing {

using sample::testing::LiteralMatcher;

class LiteralCompiler final : public text::GrammarCompiler {
 public:
  Result<std::unique_ptr<text::GrammarMatcher>> compile(text::GrammarKind,
                                                        const std::string& text) const override {
    std::istringstream words(text);
    std::vector<std::int32_t> ids;
    for (std::int32_t id = 0; words >> id;) ids.push_back(id);
    if (ids.empty()) return invalid_argument("the grammar is empty");
    return std::unique_ptr<text::GrammarMatcher>(std::make_unique<LiteralMatcher>(std::move(ids)));
  }
};

}  // namespace braid::engine::testing
