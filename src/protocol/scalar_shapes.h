// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: the shapes that many fields share.
#pragma once

#include <array>

#include "protocol/shape.h"

namespace braid::protocol::shapes {

using Kind = Shape::Kind;

constexpr Shape nullable(Shape shape) {
  shape.nullable = true;
  return shape;
}
constexpr Shape integer(std::int64_t low, std::int64_t high) { return {.kind = Kind::kInteger, .low = low, .high = high}; }
constexpr Shape list_of(const Shape& item) { return {.kind = Kind::kList, .item = &item}; }
constexpr Shape map_of(const Shape& item) { return {.kind = Kind::kMap, .item = &item}; }
constexpr Shape word(std::span<const std::string_view> words) { return {.kind = Kind::kWord, .words = words}; }
constexpr Shape object(std::span<const Field> fields) { return {.kind = Kind::kObject, .fields = fields}; }
constexpr Shape either(std::span<const Variant> variants) { return {.kind = Kind::kEither, .variants = variants}; }

inline constexpr Shape kAny{.kind = Kind::kAny};
inline constexpr Shape kFlag{.kind = Kind::kFlag}, kFlagOrNull = nullable(kFlag);
inline constexpr Shape kInteger{.kind = Kind::kInteger}, kIntegerOrNull = nullable(kInteger);
inline constexpr Shape kInt64 = integer(INT64_MIN, INT64_MAX), kInt64OrNull = nullable(kInt64);
inline constexpr Shape kCount = integer(0, INT64_MAX);
inline constexpr Shape kNatural{.kind = Kind::kInteger, .low = 0};
inline constexpr Shape kNumber{.kind = Kind::kNumber}, kNumberOrNull = nullable(kNumber);
inline constexpr Shape kText{.kind = Kind::kText}, kTextOrNull = nullable(kText);
inline constexpr Shape kSequence{.kind = Kind::kSequence};
inline constexpr Shape kTexts = list_of(kText), kTextsOrNull = nullable(kTexts);
inline constexpr Shape kIntegers = list_of(kInteger), kIntegersOrNull = nullable(kIntegers);
inline constexpr Shape kAnyMap = map_of(kAny), kAnyMapOrNull = nullable(kAnyMap);

}  // namespace braid::protocol::shapes
