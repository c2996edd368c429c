# 每个目标只是一两行命令；没有 make 的读者见 README 里的写法。
# Each target is a line or two; the README gives the same commands for those without make.
BOOK := .venv/bin/python -m utils.book
LOCK := .venv/bin/python -m uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

.PHONY: help book test soak serve run record records new check pretrain lock clean setup setup-tests chapter

help:           ## 列出命令
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:[^#]*## */	/'

book: setup     ## 执行全部章节（档位 mini），建成 _build/html
	@$(BOOK) build

test: setup-tests ## 全部测试
	@.venv/bin/python -m pytest

soak: setup-tests ## 更久的测试，持续集成不跑
	@.venv/bin/python -m pytest -m soak

serve: setup    ## 在本机浏览器里看建好的网站
	@$(BOOK) serve

run: chapter setup ## 执行一章：make run CHAPTER=13
	@$(BOOK) run $(CHAPTER)

record: chapter setup ## 重做一章的长实验并记录：make record CHAPTER=13
	@$(BOOK) record $(CHAPTER)

records: setup  ## 列出各章的记录，指出哪些已过时
	@$(BOOK) records

new: setup      ## 由模板新建一章：make new CHAPTER=26
	@$(BOOK) new $(CHAPTER)

check: setup    ## 检查笔记本的格式与规则
	@$(BOOK) check

pretrain: setup ## 重新预训练随书的检查点（约两个半小时，可中断后继续）
	@.venv/bin/python -m utils.book.pretrain

lock: setup-tests ## 由 requirements.txt 重新生成两个锁文件
	@$(LOCK) requirements.txt --output-file requirements.lock
	@$(LOCK) tests/requirements.txt --constraints requirements.lock --output-file tests/requirements.lock

clean:          ## 删除执行结果与网站（不动 .venv）
	@test ! -x .venv/bin/python || $(BOOK) clean

setup:
	@sh setup.sh

setup-tests:
	@sh setup.sh tests

chapter:
	@test -n "$(CHAPTER)" || { echo "请写出章号，例如 CHAPTER=13"; exit 2; }
