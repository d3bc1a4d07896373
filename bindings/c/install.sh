#!/bin/sh
# Installs header, libraries and pkg-config file: install.sh PREFIX [FOLDER OF THE LIBRARIES]
# Build first: cargo build --release -p znn-c
set -eu
here=$(cd "$(dirname "$0")" && pwd)
prefix=${1:?usage: install.sh PREFIX [FOLDER OF THE LIBRARIES]}
built=${2:-$here/../../target/release}
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$here/../../Cargo.toml")

mkdir -p "$prefix/include" "$prefix/lib/pkgconfig"
prefix=$(cd "$prefix" && pwd)
cp "$here/include/znn.h" "$prefix/include/"
cp "$built/libznn.so" "$built/libznn.a" "$prefix/lib/"
sed -e "s|@prefix@|$prefix|" -e "s|@version@|$version|" "$here/znn.pc.in" > "$prefix/lib/pkgconfig/znn.pc"
