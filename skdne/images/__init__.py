"""Images as the package sees them: what X may be, one scaling rule, batches.

**What X may be.** An array of images (n, H, W), (n, C, H, W) or (n, H, W, C), where the channel
axis is the one of size 1, 3 or 4 (axis 1 wins where both fit); flat rows (n, n_features) with
``image_shape``, or without it, then a row is an image of shape (1, n_features); a memory map, of
which only the rows of a batch are read; or a list, 1-D array or Series of file paths, opened when a
batch needs them.

**Scaling.** Pixels become float32 in [0, 1], ``(x - low) / (high - low)``:

================================  ==========================================================
stored as                         low, high
================================  ==========================================================
bool                              0, 1
uint8, files of 8 bits            0, 255
uint16, files of 16 bits          0, 65535
floats, all other integers        0, 1: taken as scaled already (float files are kept as
                                  16 bits)
DICOM                             its window or VOI LUT, else the whole range of its stored
                                  bits; MONOCHROME1 is inverted
================================  ==========================================================

``pixel_range=(low, high)`` replaces these numbers, as in (0, 4095) for 12-bit data in uint16. It
says nothing about bool, DICOM, and 8-bit data that could not reach it. Values outside are not
clipped. A :class:`PixelRangeWarning` says that the first images fill only a sliver of the range, or
leave it.

**Channels.** RGBA and grey with alpha are composited on black; RGB becomes grey by ITU-R BT.601
luma; grey is repeated to the channels that the encoder takes. The EXIF orientation of a JPEG is
applied.

**Size.** Where the encoder has an input size, every image is resized to it, by Pillow, bilinear
with antialiasing, in the stored precision; the aspect ratio is not kept and nothing is cut off, as
radiographs are treated by the papers.
"""

from skdne.images._batches import Images, Rows
from skdne.images._check import check_images, is_paths
from skdne.images._pixels import PixelRangeWarning

__all__ = ["Images", "PixelRangeWarning", "Rows", "check_images", "is_paths"]
