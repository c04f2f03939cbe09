// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: what a JSON value must look like, declared as tables, and one reader for
// all of them. Loosely written values are accepted and rewritten in place: "1", 1.0 and true are
// integers, "yes" and 1 are flags, "0.5" is a number. A field that is not in its table is ignored.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace braid::protocol {

using Json = nlohmann::ordered_json;

struct Shape;

struct Field {
  std::string_view name;
  const Shape* shape;
  bool required = false;
};

// One of several shapes that a value may have.
struct Variant {
  std::string_view name;  // part of an error's path, if not empty
  const Shape* shape;
};

struct Shape {
  enum class Kind {
    kAny,
    kFlag,
    kInteger,
    kNumber,
    kText,
    kWord,      // one of `words`
    kList,      // of `item`
    kSequence,  // a list or an object whose items nobody looks at
    kMap,       // from any name to `item`
    kObject,    // with `fields`
    kEither,    // one of `variants`: the first that fits as written, else the first that fits at all
  };
  Kind kind = Kind::kAny;
  bool nullable = false;
  // Bounds of an integer, of a text's length in characters, of a list's length.
  std::optional<std::int64_t> low = {};
  std::optional<std::int64_t> high = {};
  std::span<const std::string_view> words = {};
  const Shape* item = nullptr;
  std::span<const Field> fields = {};
  std::span<const Variant> variants = {};
  // A rule about the value, asked once its parts are right. What it refuses wins over every
  // misshapen value, wherever that is.
  Status (*rule)(const Json&) = nullptr;
};

// Makes `value` fit `shape`. A misfit is an error whose param is the value's path from `root`:
// "body.messages.0.role".
Status fit(const Shape& shape, Json& value, std::string_view root = "body");

// JSON whose depth is bounded, so that nothing that walks it runs out of stack: nothing when it is
// deeper, or no JSON.
inline constexpr int kDeepest = 128;
std::optional<Json> parse_shallow(std::string_view text);

// What Python calls true: not null, false, 0, nor empty.
bool truthy(const Json& value);

}  // namespace braid::protocol
