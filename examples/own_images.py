"""Train a small network on your own pictures: a folder with a subfolder for each class.

Without a folder it makes one, digit_pictures, of 600 of the digits that npbn carries, so that you
see how yours should look: digit_pictures/0/1.png and so on. A tenth of each class is kept for
validation and a tenth for the test, and it prints for each class how many of the test are right.
Photos of a phone need --size 32 32, say.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from npbn import SGD, BatchNorm, Dense, ReLU, Sequential, datasets, fit


def parse_arguments():
    summary, details = __doc__.split("\n\n", 1)
    parser = argparse.ArgumentParser(description=summary, epilog=details)
    parser.add_argument("folder", nargs="?", help="with a subfolder for each class")
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="scale every picture to this, 32 32 say; default: as they are",
    )
    parser.add_argument("--grey", action="store_true", help="leave the colours out")
    return parser.parse_args()


def made_folder():
    """A folder like one's own, of digits."""
    from PIL import Image

    images, labels = datasets.load_mnist_5k(flatten=False).train
    for number, (image, label) in enumerate(zip(images[:600], labels[:600], strict=True), 1):
        folder = Path("digit_pictures", str(label))
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.rint(255 * image[:, :, 0]).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return "digit_pictures"


def main():
    options = parse_arguments()
    try:
        folder = options.folder or made_folder()
        channels = 1 if options.grey else None
        data = datasets.load_images(folder, size=options.size, channels=channels)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    images = data.train[0]
    print(f"{folder}: {len(data.classes)} classes, {data}")

    network = Sequential(
        [
            Dense(images.shape[1], 100, use_bias=False, rng=0),
            BatchNorm(100),
            ReLU(),
            Dense(100, len(data.classes), rng=1),
        ]
    )
    batch_size = min(30, len(images))
    history = fit(
        network, data.train, data.validation, optimizer=SGD(0.05), epochs=30, batch_size=batch_size
    )
    print(history)

    found = network.evaluate(*data.test)
    for label, name in enumerate(data.classes):
        row = found.confusion[label]
        print(f"  {name:20} {row[label]:3} of {row.sum():3} right")
    print(f"test accuracy {found.accuracy:.3f}")


if __name__ == "__main__":
    main()
