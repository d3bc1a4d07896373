#!/bin/sh
# Installs header, libraries and pkg-config file: install.sh PREFIX [FOLDER OF THE LIBRARIES]
# Build first: cargo build --release -p znn-c
set -eu
here=$(cd "$(dirname "$0")" && pwd)
prefix=${1:?usage: install.sh PREFIX [FOLDER OF THE LIBRARIES]}
built=${2:-${CARGO_TARGET_DIR:-$here/../../target}/release}
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$here/../../Cargo.toml")

mkdir -p "$prefix/include" "$prefix/lib/pkgconfig"
prefix=$(cd "$prefix" && pwd)
cp "$here/include/znn.h" "$prefix/include/"
cp "$built/libznn.so" "$built/libznn.a" "$prefix/lib/"
# The lines of the sources are most of their size.
if command -v strip >/dev/null; then
    strip --strip-debug "$prefix/lib/libznn.so" "$prefix/lib/libznn.a"
fi
sed -e "s|@prefix@|$prefix|" -e "s|@version@|$version|" "$here/znn.pc.in" > "$prefix/lib/pkgconfig/znn.pc"

cat <<END
Installed. Where pkg-config does not look in $prefix:
    export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
    cc program.c \$(pkg-config --cflags --libs znn)
With the static library:
    cc program.c \$(pkg-config --cflags znn) $prefix/lib/libznn.a \$(pkg-config --variable=static_libs znn)
END
