// SPDX-License-Identifier: Apache-2.0
#include "protocol/shape.h"

#include <algorithm>
#include <array>
#include <vector>

#include "protocol/loose.h"

namespace braid::protocol {
namespace {

using Kind = Shape::Kind;

// Clients know a path without the words by which the peer's validator names its own parts.
bool shown_in_paths(std::string_view part) {
  static constexpr std::array<std::string_view, 19> kValidatorWords = {
      "arguments", "bool", "bytes", "call",  "callable", "chain", "complex", "default", "dict", "float",
      "frozenset", "int",  "list",  "none", "nullable", "set",   "str",     "tuple",   "union"};
  if (part.find_first_of("[]{}()") != std::string_view::npos) return false;
  return std::find(kValidatorWords.begin(), kValidatorWords.end(), part) == kValidatorWords.end();
}

// In short: what clients send may be long.
std::string shown(const Json& value) {
  constexpr std::size_t kMost = 100;
  if (value.is_array()) return "a list of " + std::to_string(value.size());
  if (value.is_object()) return "an object";
  if (!value.is_string()) return value.dump();
  const std::string_view text = value.get_ref<const std::string&>();
  return Json(text.substr(0, kMost)).dump(-1, ' ', false, Json::error_handler_t::replace) + (text.size() > kMost ? "..." : "");
}

std::size_t characters(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

class Fitter {
 public:
  explicit Fitter(std::string_view root) : path_{std::string(root)} {}

  Status fit(const Shape& shape, Json& value) {
    if (value.is_null() && shape.nullable) return {};
    const Status status = fit_kind(shape, value);
    if (status.ok() && shape.rule && !refusal_) {
      if (Status ruled = shape.rule(value); !ruled.ok()) refusal_ = ruled.error();
    }
    return status;
  }

  const std::optional<Error>& refusal() const { return refusal_; }

 private:
  Status misfit(const std::string& what) const {
    std::string path;
    for (const auto& part : path_) {
      if (shown_in_paths(part)) path += (path.empty() ? "" : ".") + part;
    }
    return invalid_argument(path + ": " + what, path);
  }

  Status expected(const char* what, const Json& found) const {
    return misfit(std::string("expected ") + what + ", found " + shown(found));
  }

  Status inside(std::string part, const Shape& shape, Json& value) {
    path_.push_back(std::move(part));
    Status status = fit(shape, value);
    path_.pop_back();
    return status;
  }

  Status fit_kind(const Shape& shape, Json& value) {
    switch (shape.kind) {
      case Kind::kAny: return {};
      case Kind::kFlag: return fit_flag(value);
      case Kind::kInteger: return fit_integer(shape, value);
      case Kind::kNumber: return fit_number(value);
      case Kind::kText: return fit_text(shape, value);
      case Kind::kWord: return fit_word(shape, value);
      case Kind::kList: return fit_list(shape, value);
      case Kind::kSequence: return value.is_structured() ? Status() : expected("a list", value);
      case Kind::kMap: return fit_map(shape, value);
      case Kind::kObject: return fit_object(shape, value);
      case Kind::kEither: return fit_either(shape, value);
    }
    return {};
  }

  Status fit_flag(Json& value) const {
    const auto flag = exact_ && !value.is_boolean() ? std::nullopt : loose_flag(value);
    if (!flag) return expected("true or false", value);
    value = *flag;
    return {};
  }

  Status fit_integer(const Shape& shape, Json& value) const {
    const auto integer = exact_ && !value.is_number_integer() ? std::nullopt : loose_integer(value);
    if (!integer) return expected("an integer", value);
    const bool below = shape.low && (integer->value < *shape.low || (integer->beyond && integer->value < 0));
    const bool above = shape.high && (integer->value > *shape.high || (integer->beyond && integer->value > 0));
    if (below) return misfit("must be at least " + std::to_string(*shape.low) + ", found " + value.dump());
    if (above) return misfit("must be at most " + std::to_string(*shape.high) + ", found " + value.dump());
    value = integer->value;
    return {};
  }

  Status fit_number(Json& value) const {
    const auto number = exact_ && !value.is_number() ? std::nullopt : loose_number(value);
    if (!number) return expected("a number", value);
    if (!exact_) value = *number;
    return {};
  }

  Status fit_text(const Shape& shape, const Json& value) const {
    if (!value.is_string()) return expected("text", value);
    return fit_length(shape, characters(value.get_ref<const std::string&>()), "characters");
  }

  Status fit_length(const Shape& shape, std::size_t size, const std::string& unit) const {
    const auto length = static_cast<std::int64_t>(size);
    if (shape.low && length < *shape.low) return misfit("must have at least " + std::to_string(*shape.low) + " " + unit);
    if (shape.high && length > *shape.high) return misfit("must have at most " + std::to_string(*shape.high) + " " + unit);
    return {};
  }

  Status fit_word(const Shape& shape, const Json& value) const {
    std::string list;
    for (const auto word : shape.words) {
      if (value.is_string() && value.get_ref<const std::string&>() == word) return {};
      list += (list.empty() ? "" : ", ") + std::string(word);
    }
    return expected(list.c_str(), value);
  }

  Status fit_list(const Shape& shape, Json& value) {
    if (!value.is_array()) return expected("a list", value);
    Status first;
    for (std::size_t i = 0; i < value.size(); ++i) {
      if (Status status = inside(std::to_string(i), *shape.item, value[i]); first.ok()) first = status;
    }
    return first.ok() ? fit_length(shape, value.size(), "items") : first;
  }

  Status fit_map(const Shape& shape, Json& value) {
    if (!value.is_object()) return expected("an object", value);
    Status first;
    for (auto& [key, item] : value.items()) {
      if (Status status = inside(key, *shape.item, item); first.ok()) first = status;
    }
    return first;
  }

  Status fit_object(const Shape& shape, Json& value) {
    if (!value.is_object()) return expected("an object", value);
    Status first;
    for (const auto& field : shape.fields) {
      const auto found = value.find(field.name);
      Status status;
      if (found != value.end()) {
        status = inside(std::string(field.name), *field.shape, *found);
      } else if (field.required) {
        path_.push_back(std::string(field.name));
        status = misfit("is missing");
        path_.pop_back();
      }
      if (first.ok()) first = status;
    }
    return first;
  }

  Status fit_either(const Shape& shape, Json& value) {
    const bool was_exact = exact_;
    exact_ = true;
    Status first = try_variants(shape, value);
    exact_ = was_exact;
    return first.ok() || exact_ ? first : try_variants(shape, value);
  }

  Status try_variants(const Shape& shape, Json& value) {
    Status first;
    for (const auto& variant : shape.variants) {
      Json copy = exact_ ? Json() : value;
      Json& attempt = exact_ ? value : copy;
      const Status status = variant.name.empty() ? fit(*variant.shape, attempt)
                                                 : inside(std::string(variant.name), *variant.shape, attempt);
      if (status.ok()) {
        if (!exact_) value = std::move(copy);
        return {};
      }
      if (first.ok()) first = status;
    }
    return first;
  }

  std::vector<std::string> path_;
  bool exact_ = false;  // values must be written as they are meant, and stay untouched
  std::optional<Error> refusal_;
};

}  // namespace

Status fit(const Shape& shape, Json& value, std::string_view root) {
  Fitter fitter(root);
  Status status = fitter.fit(shape, value);
  if (fitter.refusal()) return *fitter.refusal();
  return status;
}

std::optional<Json> parse_shallow(std::string_view text) {
  bool too_deep = false;
  const auto watch = [&](int depth, Json::parse_event_t, Json&) {
    too_deep |= depth > kDeepest;
    return depth <= kDeepest;
  };
  Json json = Json::parse(text.begin(), text.end(), watch, false);
  if (too_deep || json.is_discarded()) return std::nullopt;
  return json;
}

bool truthy(const Json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number()) return value.get<double>() != 0;
  if (value.is_string()) return !value.get_ref<const std::string&>().empty();
  return !value.is_null() && !value.empty();
}

}  // namespace braid::protocol
