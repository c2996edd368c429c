# 每个目标只是一两行命令；没有 make 的读者见 README。OPTIONS 原样交给 python -m utils.book，例如：
# Each target is a line or two; the README has the same commands without make. OPTIONS is passed on, for example:
#   make run CHAPTER=13 OPTIONS="--profile full"
BOOK := .venv/bin/python -m utils.book
LOCK := .venv/bin/python -m uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

# 让 glibc 留住大张量用过的内存页，训练时少一个数量级的系统时间。Keeps glibc from returning pages at every step.
export MALLOC_MMAP_MAX_ := 0
export MALLOC_TRIM_THRESHOLD_ := 17179869184
export MALLOC_TOP_PAD_ := 268435456

GPU_LOCK := utils/book/gpu.lock
PIP_AUDIT := pip-audit==2.9.0
COLAB_PYTHON := python3

.PHONY: help book test ci soak bench serve pdf zip run record records new check pretrain livebox museum lock clean setup setup-tests chapter slug doctor \
	pin publishable adopt plan publish colab gpu compat container audit issue

help: ## 列出命令
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1	\2/p' Makefile

book: setup ## 执行全部章节（档位 mini），建成 _build/html；EDITION=en 再建英文版
	@$(BOOK) build $(if $(EDITION),--edition "$(EDITION)") $(OPTIONS)

test: setup-tests ## 全部测试
	@.venv/bin/python -m pytest $(OPTIONS)

ci: ## 装上测试要的浏览器、node 与 poppler（Debian、Ubuntu），再运行全部测试
	@.ci/run

soak: setup-tests ## 耐久测试，全部做完（反复强杀、磁盘满、坏输入各一万例），要几个小时
	@BOOK_SOAK=1 .venv/bin/python -m pytest -m "soak or scaled" $(OPTIONS)

serve: setup ## 在本机看建好的网站，可加 PORT=8001
	@$(BOOK) serve $(PORT)

pdf: setup ## 把建好的网站印成 _build/book.pdf（要有 Chromium 或 Chrome）
	@$(BOOK) pdf

zip: setup ## 把建好的网站打成 _build/book.zip，解开就能离线阅读
	@$(BOOK) zip

run: chapter setup ## 执行一章：make run CHAPTER=13
	@$(BOOK) run $(CHAPTER) $(OPTIONS)

record: chapter setup ## 重做一章的长实验并记录：make record CHAPTER=13
	@$(BOOK) record $(CHAPTER) $(OPTIONS)

records: setup ## 列出各章的记录，指出哪些已过期
	@$(BOOK) records $(OPTIONS)

new: slug setup ## 由模板新建一章：make new SLUG=26-dialogue PART=4-applications TITLE=对话
	@$(BOOK) new "$(SLUG)" "$(PART)" "$(TITLE)"

.PHONY: strings
strings: setup ## 更新并检查英文版的译文目录，可加 OPTIONS="13 --terms"
	@$(BOOK) strings $(OPTIONS)

check: setup ## 检查笔记本的写法
	@$(BOOK) check

doctor: ## 自检：这台机器能不能运行本书，每一行写明怎么办
	@if test -x .venv/bin/python; then $(BOOK) doctor; else python3 -m utils.book doctor; fi

pretrain: setup ## 重新预训练随书的检查点，可中断后继续
	@.venv/bin/python -m utils.book.pretrain_run $(OPTIONS)

livebox: setup ## 重新生成第 13 章网页输入框的模型（int8），可中断后继续
	@.venv/bin/python -m utils.book.livebox $(OPTIONS)

museum: setup ## 另建旧版环境，运行原文的配方一次（第 14 章）；不属于自动检查
	@sh tests/museum/museum.sh $(OPTIONS)

bench: setup-tests ## 量速度：训练、预测、建书（另建书的环境加 torch）；OPTIONS="ner_training --help"
	@sh tests/benchmarks/bench.sh $(OPTIONS)

pin: setup ## 向模型库查明档位 full 所用模型与数据的提交（可设 HF_ENDPOINT）
	@$(BOOK) pin $(OPTIONS)

adopt: setup ## 写下公开的地址：make adopt REPO=所有者/仓库 GPU_RUNNER=标签
	@$(BOOK) adopt "$(REPO)" "$(GPU_RUNNER)"

colab: setup ## 生成 Colab 副本，可加 TAG=v1.0；OPTIONS="--push origin" 再推送到分支 colab
	@$(BOOK) colab --tag "$(or $(TAG),main)" $(OPTIONS)

publishable: setup ## 能不能发布；不能就说为什么（在工作流里，不是标签也不能）
	@$(BOOK) publishable

plan: setup ## 打印发布时的各个任务（供工作流使用）
	@$(BOOK) plan

publish: setup ## 由别的机器执行的结果生成网站和清单：make publish RESULTS=文件夹
	@$(BOOK) publish "$(RESULTS)" $(OPTIONS)

gpu: setup ## 把 TensorFlow 用的 CUDA 库装进 .venv（Linux，有 NVIDIA 驱动）
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(GPU_LOCK)

compat: setup-tests ## 另建 Colab 版本的环境，在那里运行不建书的测试和三章
	@sh tests/compat/compat.sh $(OPTIONS)

container: ## 在 Colab 的容器里用它自己的 Python 执行各章，可加 CHAPTER=10
	@$(COLAB_PYTHON) -m utils.book.in_colab $(CHAPTER)

audit: setup-tests ## 已知漏洞；有包查不了也算失败
	@.venv/bin/python -m uv tool run --quiet $(PIP_AUDIT) --strict --disable-pip --require-hashes -r requirements.lock
	@.venv/bin/python -m uv tool run --quiet $(PIP_AUDIT) --strict --disable-pip --require-hashes -r tests/requirements.lock
	@.venv/bin/python -m uv tool run --quiet $(PIP_AUDIT) --strict --disable-pip --require-hashes -r $(GPU_LOCK)

issue: ## 每周检查失败时开一个议题（由工作流设 GH_TOKEN、GH_REPO、RUN_URL）
	@gh issue create --title "每周检查失败 (weekly check failed)" --body "$(RUN_URL)"

lock: setup-tests ## 由 requirements.txt 重新生成三个锁文件
	@$(LOCK) requirements.txt --output-file requirements.lock
	@$(LOCK) tests/requirements.txt --constraints requirements.lock --output-file tests/requirements.lock
	@echo "tensorflow[and-cuda]" | $(LOCK) - --constraints requirements.lock --output-file $(GPU_LOCK)

clean: ## 删除执行结果与网站（不动 .venv）
	@test ! -x .venv/bin/python || $(BOOK) clean

setup:
	@sh setup.sh

setup-tests:
	@sh setup.sh tests

chapter:
	@test -n "$(CHAPTER)" || { echo "请写出章号，例如 CHAPTER=13"; exit 2; }

slug:
	@test -n "$(SLUG)" -a -n "$(PART)" -a -n "$(TITLE)" || { echo "请写全，例如 make new SLUG=26-dialogue PART=4-applications TITLE=对话"; exit 2; }
