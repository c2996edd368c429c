"""What the system refuses, in one line: a full disk, a folder that cannot be written, a limit."""

from __future__ import annotations

import errno

from .errors import causes

REASONS = {
    (errno.ENOSPC, errno.EDQUOT): "磁盘满了，写不下 {where}：腾出空间再运行一次，做完的都还在",
    (errno.EROFS, errno.EACCES, errno.EPERM): "不能写 {where}：它是只读的，或者没有权限；请把书放在能写的文件夹里",
    (errno.EFBIG,): "{where} 超过了系统允许的文件大小：用 ulimit -f 放宽",
    (errno.EMFILE, errno.ENFILE): "同时打开的文件太多，打不开 {where}：用 ulimit -n 放宽，或用 --jobs 1",
}


def explain(error: BaseException, where: object = "输出") -> str | None:
    """One line in Chinese about the first refusal behind an error; None if there is none, and the book is at fault.

    `where` names the file if the error itself does not.
    """
    for one in causes(error):
        for numbers, reason in REASONS.items():
            if isinstance(one, OSError) and one.errno in numbers:
                return reason.format(where=one.filename or where)
    return None
