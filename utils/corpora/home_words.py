"""Rooms, devices and other words for the open lists of home-assistant-intents, written for the book.

The order matters: training uses the first three quarters of each list (`home_intents.words`).
"""

# what a {name} may be, by the kind of device (Home Assistant's "domain")
NAMES = {
    "zh-CN": {
        "light": ["落地灯", "水晶灯", "小夜灯", "壁灯", "灯带", "镜前灯", "阅读灯", "氛围灯"],
        "switch": ["热水器", "加湿器", "插座", "空气净化器", "饮水机", "电热毯"],
        "fan": ["循环扇", "排风扇", "新风机", "换气扇"],
        "media_player": ["电视", "音箱", "投影仪", "功放"],
        "climate": ["空调", "中央空调", "地暖", "壁挂炉"],
        "cover": ["纱帘", "卷帘门", "遮光帘", "天窗"],
        "lock": ["大门锁", "指纹锁", "后门锁", "书房门锁"],
        "valve": ["水阀", "燃气阀", "喷淋阀", "暖气阀"],
        "binary_sensor": ["烟雾报警器", "门磁", "漏水传感器", "人体感应器"],
        "todo": ["待办清单", "工作清单", "周末计划", "学习计划"],
        "vacuum": ["扫地机", "拖地机", "小白", "阿扫"],
        "person": ["爸爸", "妈妈", "小明", "奶奶"],
        "lawn_mower": ["割草机", "草坪机器人"],
        "sensor": ["温度计", "湿度计", "电表", "空气检测仪"],
        "weather": ["北京", "上海", "成都", "杭州"],
        "scene": ["观影场景", "回家场景", "睡眠场景", "聚餐场景"],
        "script": ["早安脚本", "浇花脚本", "晚安脚本", "离家脚本"],
        "input_boolean": ["访客模式", "假日模式", "静音模式", "夜间模式"],
    },
    "en": {
        "light": ["floor lamp", "chandelier", "night light", "wall lamp", "light strip", "mirror light", "reading lamp", "desk lamp"],
        "switch": ["water heater", "humidifier", "socket", "air purifier", "kettle", "electric blanket"],
        "fan": ["ceiling fan", "exhaust fan", "tower fan", "ventilator"],
        "media_player": ["tv", "speaker", "projector", "amplifier"],
        "climate": ["air conditioner", "thermostat", "floor heating", "boiler"],
        "cover": ["sheer curtain", "roller door", "blackout blind", "skylight"],
        "lock": ["front lock", "smart lock", "back lock", "study lock"],
        "valve": ["water valve", "gas valve", "sprinkler valve", "radiator valve"],
        "binary_sensor": ["smoke alarm", "door contact", "leak sensor", "motion sensor"],
        "todo": ["chores", "work tasks", "weekend plan", "study plan"],
        "vacuum": ["vacuum", "mop robot", "dusty", "rover"],
        "person": ["dad", "mum", "ming", "grandma"],
        "lawn_mower": ["mower", "lawn robot"],
        "sensor": ["thermometer", "hygrometer", "power meter", "air monitor"],
        "weather": ["london", "paris", "rome", "berlin"],
        "scene": ["movie scene", "arrival scene", "sleep scene", "dinner scene"],
        "script": ["morning script", "watering script", "night script", "leaving script"],
        "input_boolean": ["guest mode", "holiday mode", "silent mode", "night mode"],
        "button": ["doorbell button", "reset button", "pump button", "coffee button"],
        "input_button": ["panic button", "start button", "test button", "call button"],
    },
}

# the other open lists
WORDS = {
    "zh-CN": {
        "area": ["客厅", "卧室", "厨房", "书房", "卫生间", "阳台", "餐厅", "儿童房", "主卧", "车库", "走廊", "玄关", "花园", "次卧",
                 "地下室", "储藏室"],
        "floor": ["一", "二", "1", "2", "三", "3"],
        "message": ["晚饭好了", "该出门了", "快递到了", "记得带伞", "洗衣机停了", "水烧开了", "我们十分钟后到家", "作业写完了吗"],
        "timer_name": ["煮鸡蛋", "面条", "烤箱", "洗衣机", "泡茶", "午睡", "炖汤", "蒸馒头"],
        "timer_command": ["打开客厅的灯", "关闭空调", "打开窗帘", "关闭电视", "打开风扇", "锁上大门"],
        "shopping_list_item": ["牛奶", "鸡蛋", "洗衣液", "苹果", "面包", "酱油", "纸巾", "西红柿"],
        "todo_list_item": ["交电费", "取快递", "给奶奶打电话", "买车票", "修水龙头", "写周报", "约牙医", "浇花"],
        "zone": ["公司", "学校", "健身房", "超市"],
        "search_query": ["轻音乐", "新闻", "儿歌", "爵士乐"],
    },
    "en": {
        "area": ["living room", "bedroom", "kitchen", "study", "bathroom", "balcony", "dining room", "nursery", "master bedroom",
                 "garage", "hallway", "entrance", "garden", "guest room", "basement", "storage room"],
        "floor": ["first", "second", "ground", "upper", "third", "top"],
        "message": ["dinner is ready", "time to leave", "the parcel is here", "take an umbrella", "the laundry is done",
                    "the water boils", "we are home in ten minutes", "have you done your homework"],
        "timer_name": ["eggs", "pasta", "oven", "laundry", "tea", "nap", "soup", "bread"],
        "timer_command": ["turn on the living room lights", "turn off the tv", "open the curtain", "turn on the fan",
                          "lock the front door", "turn off the heating"],
        "shopping_list_item": ["milk", "eggs", "soap", "apples", "bread", "soy sauce", "tissues", "tomatoes"],
        "todo_list_item": ["pay the bill", "fetch the parcel", "call grandma", "buy the ticket", "fix the tap", "write the report",
                           "see the dentist", "water the plants"],
        "zone": ["work", "school", "gym", "market"],
        "search_query": ["soft music", "the news", "nursery rhymes", "jazz"],
    },
}
