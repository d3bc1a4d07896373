"""Writes the volumes of this folder by the reference implementations of their formats, each of the same voxels:
v[z, y, x] = (37 z + 11 y + 3 x) % 251 of extent 5,9,11; needs numpy zarr numcodecs h5py tifffile nibabel, and for N5
zarr 2 (`make.py n5`)."""

import sys
from pathlib import Path

import numcodecs
import numpy as np
import zarr

folder = Path(__file__).parent
z, y, x = np.mgrid[:5, :9, :11]
volume = (37 * z + 11 * y + 3 * x) % 251

if sys.argv[1:] == ["n5"]:
    store = zarr.N5Store(folder / "gzip.n5")
    zarr.array(volume.astype("u2"), chunks=(3, 9, 6), store=store, compressor=numcodecs.GZip(1))
    store = zarr.N5Store(folder / "blosc.n5")
    zarr.array(volume.astype("f4"), chunks=(5, 4, 11), store=store, compressor=numcodecs.Blosc("lz4"))
    sys.exit()

import h5py
import nibabel
import tifffile


def zarr2(name, dtype, chunks, compressor, **options):
    array = zarr.create_array(
        folder / name, shape=volume.shape, dtype=dtype, chunks=chunks, compressors=compressor, zarr_format=2, **options
    )
    array[:] = volume.astype(dtype)
    return array


def zarr3(name, dtype, **options):
    array = zarr.create_array(folder / name, shape=volume.shape, dtype=dtype, zarr_format=3, **options)
    array[:] = volume.astype(dtype)
    return array


blosc = numcodecs.Blosc
zarr2("blosc_lz4.zarr", "<u2", (3, 9, 6), blosc("lz4", 5, blosc.SHUFFLE))
zarr2("blosc_bits.zarr", "<f4", (5, 9, 11), blosc("zstd", 3, blosc.BITSHUFFLE))
zarr2("blosc_lz.zarr", "<i4", (5, 9, 11), blosc("blosclz", 9, blosc.SHUFFLE))
zarr2("blosc_zlib.zarr", "<u8", (3, 9, 6), blosc("zlib", 9, blosc.NOSHUFFLE), chunk_key_encoding={"name": "v2", "separator": "/"})
zarr2("fortran.zarr", ">i4", (3, 9, 6), numcodecs.Zlib(1), order="F")
zarr2("zstd.zarr", "<f8", (3, 9, 6), numcodecs.Zstd(1))
zarr2("lz4.zarr", "|u1", (3, 9, 6), numcodecs.LZ4())
plain = zarr2("plain.zarr", "|u1", (3, 9, 6), None)
plain.attrs["resolution"] = [30, 4, 4]
plain.attrs["units"] = ["nm", "nm", "nm"]

zarr3("default3.zarr", "uint16", chunks=(3, 9, 6))
zarr3("sharded.zarr", "int16", chunks=(1, 3, 4), shards=(4, 9, 8), compressors=zarr.codecs.ZstdCodec())
zarr3(
    "transposed.zarr",
    "float32",
    chunks=(3, 9, 6),
    filters=[zarr.codecs.TransposeCodec(order=(2, 1, 0))],
    serializer=zarr.codecs.BytesCodec(endian="big"),
    compressors=[zarr.codecs.GzipCodec(), zarr.codecs.Crc32cCodec()],
)
zarr3("blosc3.zarr", "uint8", chunks=(5, 9, 11), compressors=zarr.codecs.BloscCodec(cname="lz4hc", shuffle="shuffle"))

group = zarr.create_group(folder / "scales.zarr", zarr_format=3)
group.create_array("0", data=volume[None, None].astype("u1"), chunks=(1, 1, 5, 9, 11))
group.attrs["ome"] = {
    "version": "0.5",
    "multiscales": [
        {
            "axes": [{"name": n} for n in "tc"] + [{"name": n, "unit": "nanometer"} for n in "zyx"],
            "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 1, 30, 4, 4]}]}],
        }
    ],
}

with h5py.File(folder / "volume.h5", "w") as file:
    main = file.create_dataset("main", data=volume.astype("u2"), chunks=(3, 9, 6), compression="gzip", shuffle=True, fletcher32=True)
    main.attrs["resolution"] = [30.0, 4.0, 4.0]
    main.attrs["units"] = "nm"
    file.create_dataset("volumes/contiguous", data=volume.astype(">i4"))
    file.create_dataset("volumes/lzf", data=volume.astype("f4"), chunks=(3, 9, 6), compression="lzf")

np.save(folder / "c.npy", volume.astype(">u2"))
np.save(folder / "fortran.npy", np.asfortranarray(volume.astype("f8")))
image = nibabel.Nifti1Image(np.ascontiguousarray(volume.T.astype("i2")), np.diag([4, 4, 30, 1]))
image.header.set_xyzt_units("micron")
nibabel.save(image, folder / "volume.nii.gz")
nibabel.save(nibabel.Nifti2Image(volume.T.astype("f4"), np.eye(4)), folder / "second.nii")
metadata = {"spacing": 30.0, "unit": "nm", "axes": "ZYX"}
tifffile.imwrite(folder / "imagej.tif", volume.astype("u2"), imagej=True, resolution=(0.25, 0.25), metadata=metadata)
tifffile.imwrite(folder / "big.tif", volume.astype("f4"), bigtiff=True, compression="zlib", tile=(16, 16), photometric="minisblack")
