"""The images of each row: made here by a model, or found in a folder, each with its prompt.

Images are made by as many processes as there are (Accelerate starts them, on one machine or
several that share the output folder): each makes every n-th one. What is there already is kept, so
a run that was stopped, or killed, continues. Images of the same prompt and seed in two rows are a
pair.
"""

from collections import Counter
from itertools import count
from pathlib import Path

from diffusion4k.benchmark.distributed import Processes
from diffusion4k.benchmark.prompts import PromptSet
from diffusion4k.benchmark.recipe import BenchmarkEntry, BenchmarkRecipe
from diffusion4k.data.folder import photo_folder
from diffusion4k.data.images import image_size
from diffusion4k.data.metadata import METADATA, write_rows
from diffusion4k.data.picture_files import list_images
from diffusion4k.errors import Diffusion4kError, UsageError
from diffusion4k.families import resolve
from diffusion4k.imagesets.models import ImageSetEntry
from diffusion4k.imagesets.provenance import prompt_and_seed, rows_of
from diffusion4k.sampling.options import LoadingOptions
from diffusion4k.sampling.request import Request, SamplingSettings
from diffusion4k.support.wording import natural_key

__all__ = [
    "check_entries",
    "found_images",
    "images_folder",
    "made_image",
    "make_images",
    "requests_of",
    "size_of",
    "write_captions",
]

_SAMPLER = (*LoadingOptions.model_fields, "lora", "lora_scale")


def images_folder(recipe: BenchmarkRecipe, entry: BenchmarkEntry) -> Path:
    """Where the images of a row are."""
    if entry.images is not None:
        return photo_folder(entry.images)
    return recipe.output / "images" / entry.name


def check_entries(recipe: BenchmarkRecipe) -> None:
    """See that every folder of images and every model is there, before a model runs for days.

    Raises:
        UsageError: no such folder or model, or a folder without images.
        Diffusion4kError: a hub id that cannot be had.
    """
    for entry in recipe.models:
        if entry.images is not None:
            found_images(images_folder(recipe, entry), quiet=True)
        else:
            assert entry.model is not None
            resolve(entry.model)
    if recipe.reference:
        list_images(recipe.reference, quiet=True)


def make_images(
    recipe: BenchmarkRecipe,
    entry: BenchmarkEntry,
    prompts: PromptSet,
    processes: Processes,
    *,
    share: slice = slice(None),
) -> list[ImageSetEntry]:
    """Make the images of a model for `share` of the prompts and seeds, where they are not there.

    Raises:
        UsageError: a setting that the model does not take.
        Diffusion4kError: the model cannot be found, loaded or run.
    """
    from diffusion4k.sampling.batch import generate
    from diffusion4k.sampling.sampler import Sampler

    assert entry.model is not None
    options = {name: getattr(entry, name) for name in _SAMPLER}
    sampler = Sampler(entry.model, device=processes.device, **options)
    outputs = generate(
        requests_of(recipe, entry, prompts)[share],
        sampler,
        out=images_folder(recipe, entry),
        image_format=recipe.format,
        progress=processes.is_main,
    )
    return [made_image(output.path, output.settings) for output in outputs]


def made_image(path: Path, settings: SamplingSettings) -> ImageSetEntry:
    """An image that was made of these settings."""
    return ImageSetEntry(path, path.name, settings.prompt, settings.seed)


def requests_of(
    recipe: BenchmarkRecipe, entry: BenchmarkEntry, prompts: PromptSet
) -> list[Request]:
    """What a row asks its model for: each prompt with each seed."""
    sampling = recipe.sampling(entry)
    return [
        Request.of(sampling, prompt, seed) for prompt in prompts.prompts for seed in recipe.seeds
    ]


def write_captions(folder: Path, images: list[ImageSetEntry]) -> None:
    """Make the folder an image folder, as `compare` and the studies take it."""
    rows = [{"file_name": image.path.name, "text": image.prompt} for image in images]
    write_rows(folder / METADATA, rows)


def found_images(folder: Path, *, quiet: bool = False) -> list[ImageSetEntry]:
    """The images of a folder, each with the prompt that `metadata.jsonl` or its own record gives.

    These are the images in the folder itself, and those that `metadata.jsonl` names, be they there
    or not: measuring tells what is missing. Images of one prompt are numbered in the order of their
    names, by what no seed is, unless it is known with which seeds they were made. Unless `quiet`,
    pictures that cannot be read are reported.

    Raises:
        UsageError: no folder, or no image in it.
        Diffusion4kError: a line of `metadata.jsonl` that cannot be read.
    """
    rows = rows_of(folder)
    found = set(rows)
    try:
        found.update(list_images(folder, quiet=quiet))
    except UsageError:
        if not rows:  # they may name images of sub-folders alone
            raise
    paths = sorted(found, key=natural_key)
    known = [(path, *prompt_and_seed(path, rows.get(path))) for path in paths]
    taken = {(prompt, seed) for _, prompt, seed in known}
    images = []
    for path, prompt, seed in known:
        if not prompt:
            images.append(ImageSetEntry(path, path.name))
            continue
        if seed is None:
            seed = next(number for number in count() if (prompt, number) not in taken)
            taken.add((prompt, seed))
        images.append(ImageSetEntry(path, path.name, prompt, seed))
    pairs = Counter(image.pair for image in images if image.pair)
    if again := next((pair for pair, count in pairs.items() if count > 1), None):
        raise UsageError(
            f"{folder}: two images of the prompt {again[0][:60]!r} with seed {again[1]}: keep one, "
            f"or give them other seeds in {METADATA}"
        )
    return images


def size_of(image: ImageSetEntry) -> tuple[int, int] | None:
    """Width and height, None for an image that cannot be read (measuring says why)."""
    try:
        return image_size(image.path)
    except (Diffusion4kError, OSError):
        return None
