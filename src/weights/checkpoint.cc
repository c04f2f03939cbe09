// SPDX-License-Identifier: Apache-2.0
#include "weights/checkpoint.h"

#include <map>
#include <set>

#include "weights/files.h"
#include "weights/safetensors.h"

namespace braid::weights {
namespace {

struct Located {
  Entry entry;
  std::shared_ptr<MappedFile> file;
  std::string path;

  TensorView view() const { return {file->bytes().data() + entry.begin, entry.dtype, entry.shape}; }
};

class FileCheckpoint final : public Checkpoint {
 public:
  FileCheckpoint(std::string path, std::string config) {
    path_ = std::move(path);
    config_json_ = std::move(config);
  }

  Status add(const std::string& path) {
    ASSIGN_OR_RETURN(auto file, MappedFile::open(path));
    ASSIGN_OR_RETURN(auto entries, parse_safetensors(file->bytes(), path));
    for (auto& entry : entries) {
      total_ += entry.end - entry.begin;
      const std::string name = entry.name;
      if (!tensors_.emplace(name, Located{std::move(entry), file, path}).second) {
        return invalid_argument(path + ": tensor " + name + " is in " + tensors_.at(name).path + " too");
      }
    }
    return {};
  }

  Result<Stored> matrix(const std::string& name, std::int64_t rows, std::int64_t cols) const override {
    ASSIGN_OR_RETURN(const Located* found, find(name, {rows, cols}));
    Stored stored;
    stored.values = found->view();
    std::vector<const Located*> parts{found};
    if (found->entry.dtype == DType::kF8E4M3) {
      const Shape blocks{(rows + stored.block - 1) / stored.block, (cols + stored.block - 1) / stored.block};
      ASSIGN_OR_RETURN(const Located* scales, find(name + "_scale_inv", blocks));
      stored.scales = scales->view();
      parts.push_back(scales);
    }
    stored.owner = std::shared_ptr<const void>(found, [parts](const void*) {
      for (const Located* part : parts) part->file->forget(part->entry.begin, part->entry.end);
    });
    return stored;
  }

  Result<std::vector<float>> vector(const std::string& name, std::int64_t size) const override {
    ASSIGN_OR_RETURN(const Located* found, find(name, {size}));
    const TensorView view = found->view();
    std::vector<float> values(static_cast<std::size_t>(size));
    for (std::int64_t i = 0; i < size; ++i) values[static_cast<std::size_t>(i)] = view.at(i);
    return values;
  }

  bool has(const std::string& name) const override { return tensors_.contains(name); }
  std::size_t total_bytes() const override { return total_; }

  Status check_surplus(const std::function<bool(const std::string&)>& expected_extra) const override {
    std::vector<std::string> surplus;
    for (const auto& [name, located] : tensors_) {
      if (!used_.contains(name) && !expected_extra(name)) surplus.push_back(name + " " + to_string(located.entry.shape));
    }
    if (surplus.empty()) return {};
    return invalid_argument(path_ + ": " + std::to_string(surplus.size()) +
                            " tensor(s) that config.json does not account for, first: " + surplus.front());
  }

 private:
  Result<const Located*> find(const std::string& name, const Shape& shape) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) {
      return Error{ErrorCode::kNotFound, path_ + ": tensor " + name + " is missing (expected shape " + to_string(shape) + ")", {}};
    }
    if (found->second.entry.shape != shape) {
      return invalid_argument(found->second.path + ": tensor " + name + ": expected shape " + to_string(shape) +
                              ", found " + to_string(found->second.entry.shape));
    }
    used_.insert(name);
    return &found->second;
  }

  std::map<std::string, Located> tensors_;
  mutable std::set<std::string> used_;
  std::size_t total_ = 0;
};

}  // namespace

Result<std::unique_ptr<Checkpoint>> open_checkpoint(const std::string& folder) {
  ASSIGN_OR_RETURN(std::string config, read_config(folder));
  ASSIGN_OR_RETURN(const auto files, weight_files(folder));
  auto checkpoint = std::make_unique<FileCheckpoint>(folder, std::move(config));
  for (const auto& file : files) RETURN_IF_ERROR(checkpoint->add(file));
  return std::unique_ptr<Checkpoint>(std::move(checkpoint));
}

}  // namespace braid::weights
