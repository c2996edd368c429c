"""The conversations of `utils.corpora.home_dialogues`, which explains the form of a line."""

# for building the assistant: rules and data were mended after them
DEVELOPMENT = """
# 省略房间
打开客厅的灯 | HassTurnOn/light area=客厅 | =
还有卧室 | inform area=卧室 | 做 HassTurnOn/light area=卧室
书房的也要 | inform area=书房 | 做 HassTurnOn/light area=书房
# 缺房间就问
把空调调到26度 | HassClimateSetTemperature temperature=26 | 问 area
卧室 | inform area=卧室 | 做 HassClimateSetTemperature area=卧室 temperature=26
# 更正
关闭厨房的灯 | HassTurnOff/light area=厨房 | =
不对，是书房 | correct area=书房 | 改 HassTurnOff/light area=书房
# 开锁要确认
打开大门锁 | HassTurnOff name=大门锁 | 确认 HassTurnOff name=大门锁
是的 | confirm | 做 HassTurnOff name=大门锁
# 拒绝
解锁大门锁 | HassTurnOff name=大门锁 | 确认 HassTurnOff name=大门锁
算了 | HassNevermind | 取消
# 改数值
把卧室的灯亮度调到30 | HassLightSet/light area=卧室 brightness=30 | =
改成50 | correct value=50 | 改 HassLightSet/light area=卧室 brightness=50
# 名字
打开落地灯 | HassTurnOn name=落地灯 | =
小夜灯呢 | inform name=小夜灯 | 做 HassTurnOn name=小夜灯
# 听不懂
今天的股票涨了吗 | unknown | 不懂
打开排风扇 | HassTurnOn name=排风扇 | =
# 回家
打开客厅的灯 | HassTurnOn/light area=客厅 | =
再把客厅的窗帘打开 | HassTurnOn/cover area=客厅 device_class=窗帘 | =
空调调成24度 | HassClimateSetTemperature temperature=24 | 问 area
客厅的 | inform area=客厅 | 做 HassClimateSetTemperature area=客厅 temperature=24
还是26度吧 | correct temperature=26 | 改 HassClimateSetTemperature area=客厅 temperature=26
# 睡前
关闭客厅所有的灯 | HassTurnOff/light area=客厅 | =
厨房呢 | inform area=厨房 | 做 HassTurnOff/light area=厨房
打开小夜灯 | HassTurnOn name=小夜灯 | =
卧室的窗帘关上 | HassTurnOff/cover area=卧室 device_class=窗帘 | =
# 说错了房间
打开书房的灯 | HassTurnOn/light area=书房 | =
不是书房，是阳台 | correct area=阳台 | 改 HassTurnOn/light area=阳台
# 说错了两次
把客厅空调调到22度 | HassClimateSetTemperature area=客厅 temperature=22 | =
错了，卧室 | correct area=卧室 | 改 HassClimateSetTemperature area=卧室 temperature=22
不是22度，是25度 | correct temperature=25 | 改 HassClimateSetTemperature area=卧室 temperature=25
# 开门
打开大门锁 | HassTurnOff name=大门锁 | 确认 HassTurnOff name=大门锁
对，打开吧 | confirm | 做 HassTurnOff name=大门锁
锁上大门锁 | HassTurnOn name=大门锁 | =
# 不开门
把大门锁解锁 | HassTurnOff name=大门锁 | 确认 HassTurnOff name=大门锁
还是别开了 | HassNevermind | 取消
# 确认时又改主意
解锁大门锁 | HassTurnOff name=大门锁 | 确认 HassTurnOff name=大门锁
打开阳台的灯 | HassTurnOn/light area=阳台 | =
好的 | confirm | 不懂
# 问房间时取消
打开窗帘 | HassTurnOn/cover device_class=窗帘 | 问 area
不用了 | HassNevermind | 取消
卧室 | inform area=卧室 | 不懂
# 问房间时换命令
关灯 | HassTurnOff/light | 问 area
把电视音量设置为20 | HassSetVolume name=电视 volume_level=20 | =
# 亮度与颜色
把书房的灯亮度调到80 | HassLightSet/light area=书房 brightness=80 | =
卧室也一样 | inform area=卧室 | 做 HassLightSet/light area=卧室 brightness=80
改成40 | correct value=40 | 改 HassLightSet/light area=卧室 brightness=40
把客厅的灯调成蓝色 | HassLightSet/light area=客厅 color=蓝色 | =
换成黄色 | correct color=黄色 | 改 HassLightSet/light area=客厅 color=黄色
# 窗帘开一半
把卧室的窗帘调到50% | HassSetPosition/cover area=卧室 device_class=窗帘 position=50 | =
书房的呢 | inform area=书房 | 做 HassSetPosition/cover area=书房 device_class=窗帘 position=50
百分之30 | inform value=30 | 做 HassSetPosition/cover area=书房 device_class=窗帘 position=30
# 风扇
打开客厅的风扇 | HassTurnOn/fan area=客厅 | =
还有厨房 | inform area=厨房 | 做 HassTurnOn/fan area=厨房
关掉排风扇 | HassTurnOff name=排风扇 | =
# 只有一处，不必问
打开热水器 | HassTurnOn name=热水器 | =
锁上大门锁 | HassTurnOn name=大门锁 | =
# 计时器
设置10分钟的计时器 | HassStartTimer minutes=10 | =
错了，15分钟 | correct minutes=15 | 改 HassStartTimer minutes=15
# 购物清单
把牛奶加到购物清单 | HassShoppingListAddItem item=牛奶 | =
记得买酱油 | HassShoppingListAddItem item=酱油 | =
# 听不懂以后接着来
给我讲个笑话 | unknown | 不懂
打开卧室的灯 | HassTurnOn/light area=卧室 | =
世界上最高的山是哪座 | unknown | 不懂
那书房呢 | inform area=书房 | 做 HassTurnOn/light area=书房
# 没头没尾
卧室呢 | inform area=卧室 | 不懂
可以 | confirm | 不懂
关闭卧室的灯 | HassTurnOff/light area=卧室 | =
# 换设备
打开落地灯 | HassTurnOn name=落地灯 | =
我说的是小夜灯 | correct name=小夜灯 | 改 HassTurnOn name=小夜灯
客厅的灯也要 | inform area=客厅 | 做 HassTurnOn/light area=客厅
# 从名字到房间
关闭小夜灯 | HassTurnOff name=小夜灯 | =
打开书房的空调 | HassTurnOn area=书房 name=空调 | =
把书房空调设为27度 | HassClimateSetTemperature area=书房 temperature=27 | =
客厅呢 | inform area=客厅 | 做 HassClimateSetTemperature area=客厅 temperature=27
# 全屋
关闭全部的灯 | HassTurnOff/light | 确认 HassTurnOff/light area=全屋
确定 | confirm | 做 HassTurnOff/light area=全屋
# 口语
帮我把厨房的灯打开好吗 | HassTurnOn/light area=厨房 | =
太亮了，调到20 | HassLightSet/light brightness=20 | 做 HassLightSet/light area=厨房 brightness=20
麻烦把阳台灯也开一下 | HassTurnOn/light area=阳台 | =
# 电视
打开电视 | HassTurnOn name=电视 | =
电视音量调到30 | HassSetVolume name=电视 volume_level=30 | =
改成20 | correct value=20 | 改 HassSetVolume name=电视 volume_level=20
关闭电视 | HassTurnOff name=电视 | =
"""

# written when the assistant was finished, only for judging it
TEST = """
# 下班回家
打开客厅的灯 | HassTurnOn/light area=客厅 | =
卧室的也要 | inform area=卧室 | 做 HassTurnOn/light area=卧室
把客厅的空调调到25度 | HassClimateSetTemperature area=客厅 temperature=25 | =
书房呢 | inform area=书房 | 做 HassClimateSetTemperature area=书房 temperature=25
# 起床
打开卧室的窗帘 | HassTurnOn/cover area=卧室 device_class=窗帘 | =
还有客厅的 | inform area=客厅 | 做 HassTurnOn/cover area=客厅 device_class=窗帘
关闭小夜灯 | HassTurnOff name=小夜灯 | =
# 空调没说哪间
将空调设置为26度 | HassClimateSetTemperature temperature=26 | 问 area
书房的 | inform area=书房 | 做 HassClimateSetTemperature area=书房 temperature=26
改成28度 | correct temperature=28 | 改 HassClimateSetTemperature area=书房 temperature=28
# 窗帘没说哪间
关上窗帘 | HassTurnOff/cover device_class=窗帘 | 问 area
是客厅的 | inform area=客厅 | 做 HassTurnOff/cover area=客厅 device_class=窗帘
# 灯没说哪间，又不要了
开灯 | HassTurnOn/light | 问 area
算了 | HassNevermind | 取消
# 连说两间又改口
关掉厨房的灯 | HassTurnOff/light area=厨房 | =
阳台也一样 | inform area=阳台 | 做 HassTurnOff/light area=阳台
不对，是卧室 | correct area=卧室 | 改 HassTurnOff/light area=卧室
# 把名字说错
打开循环扇 | HassTurnOn name=循环扇 | =
错了，是排风扇 | correct name=排风扇 | 改 HassTurnOn name=排风扇
# 从名字到名字
关闭落地灯 | HassTurnOff name=落地灯 | =
小夜灯也要 | inform name=小夜灯 | 做 HassTurnOff name=小夜灯
书房的呢 | inform area=书房 | 做 HassTurnOff/light area=书房
# 放客人进来
把大门锁打开 | HassTurnOff name=大门锁 | 确认 HassTurnOff name=大门锁
确认 | confirm | 做 HassTurnOff name=大门锁
# 不放
解锁大门锁 | HassTurnOff name=大门锁 | 确认 HassTurnOff name=大门锁
先不要 | HassNevermind | 取消
把大门锁锁上 | HassTurnOn name=大门锁 | =
# 确认没有回答
打开大门锁 | HassTurnOff name=大门锁 | 确认 HassTurnOff name=大门锁
你觉得今天会下雨吗 | unknown | 不懂
对 | confirm | 做 HassTurnOff name=大门锁
# 出门
关掉所有的灯 | HassTurnOff/light | 确认 HassTurnOff/light area=全屋
可以 | confirm | 做 HassTurnOff/light area=全屋
锁上大门锁 | HassTurnOn name=大门锁 | =
# 全关，又不关了
关闭家里全部的灯 | HassTurnOff/light | 确认 HassTurnOff/light area=全屋
不用了 | HassNevermind | 取消
# 看书
把书房的灯亮度设置为90 | HassLightSet/light area=书房 brightness=90 | =
太刺眼了，改成60 | correct value=60 | 改 HassLightSet/light area=书房 brightness=60
设置书房的灯为白色 | HassLightSet/light area=书房 color=白色 | =
换成橙色 | correct color=橙色 | 改 HassLightSet/light area=书房 color=橙色
# 最亮
把厨房的亮度调到最亮 | HassLightSet/light area=厨房 brightness=100 | =
阳台呢 | inform area=阳台 | 做 HassLightSet/light area=阳台 brightness=100
# 窗帘半开
把书房的窗帘调成40% | HassSetPosition/cover area=书房 device_class=窗帘 position=40 | =
百分之60 | inform value=60 | 做 HassSetPosition/cover area=书房 device_class=窗帘 position=60
卧室也要 | inform area=卧室 | 做 HassSetPosition/cover area=卧室 device_class=窗帘 position=60
# 看电视
打开电视 | HassTurnOn name=电视 | =
把电视音量调到15 | HassSetVolume name=电视 volume_level=15 | =
改成25 | correct value=25 | 改 HassSetVolume name=电视 volume_level=25
# 做饭
设置20分钟的计时器 | HassStartTimer minutes=20 | =
不是20分钟，是12分钟 | correct minutes=12 | 改 HassStartTimer minutes=12
打开厨房的风扇 | HassTurnOn/fan area=厨房 | =
# 买东西
购物清单加鸡蛋 | HassShoppingListAddItem item=鸡蛋 | =
把面包加到购物清单 | HassShoppingListAddItem item=面包 | =
# 闲话
你会唱歌吗 | unknown | 不懂
关闭热水器 | HassTurnOff name=热水器 | =
谁发明了电灯 | unknown | 不懂
# 开头就是半句
书房呢 | inform area=书房 | 不懂
好的 | confirm | 不懂
打开书房的灯 | HassTurnOn/light area=书房 | =
客厅也要 | inform area=客厅 | 做 HassTurnOn/light area=客厅
# 随口说
厨房太暗了，把灯打开吧 | HassTurnOn/light area=厨房 | =
有点冷，卧室空调调到28度 | HassClimateSetTemperature area=卧室 temperature=28 | =
麻烦帮我关一下书房的灯 | HassTurnOff/light area=书房 | =
"""
