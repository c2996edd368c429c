"""Data sets of profile `full`: parquet files on the hub, by the table in `utils.profiles`.

Import it by name (`from utils.corpora import hub`): nothing of profile `mini` needs it.
"""

from __future__ import annotations

from datasets import DatasetDict, load_dataset

from .. import hub, profiles
from ..errors import ConfigError, DataError


def load(name: str, part: str | None = None) -> DatasetDict:
    """The splits of a data set in `profiles.HUB_DATASETS`, at the commit that the table gives.

    While nobody has resolved that commit (`make pin`), a fallback "revision NAME" stands in for it: there alone are the
    parquet files.

    Args:
        name: key of the table.
        part: only this folder of the data set, such as the language pair "en-zh".

    Raises:
        ConfigError: the table has no such name; the message lists what it has.
        DataError: it cannot be fetched, or holds no readable parquet files.
    """
    if name not in profiles.HUB_DATASETS:
        raise ConfigError(f"profiles.HUB_DATASETS 里没有 {name!r}；可选：{'、'.join(profiles.HUB_DATASETS)}")
    entry = profiles.HUB_DATASETS[name]
    folder = hub.dataset_folder(entry.id, entry.revision or entry.branch, part)
    try:
        return load_dataset(str(folder))
    except Exception as error:  # datasets, pyarrow and pandas each have their own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"数据 {entry.id} 读不出来：{reason}；请删去 {folder} 后重新下载，或改用 PROFILE = \"mini\"") from error
