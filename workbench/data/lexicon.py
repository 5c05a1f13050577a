"""Closed word lists of English captions: what the built-in chunker and the hard-negative operators know of words.

Lower case throughout. What is a list for replacement (colours, sizes, ...) is a tuple, in one fixed order, so that a seed
draws the same word everywhere; what is only looked up is a frozen set. Nouns are open and stand nowhere, except where an
ending misleads ("building", "bus") or the plural is irregular ("people").
"""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(phrase.strip() for phrase in text.split(",") if phrase.strip())


# Colours that a thing may be given
BASIC_COLOURS = _words("red blue green yellow orange purple pink brown black white gray")
# Basic colour → the shades that may pass for it
_SHADES = {
    basic: frozenset((basic, *others))
    for basic, *others in map(
        str.split,
        """
        red maroon scarlet crimson burgundy
        blue navy turquoise teal cyan azure indigo
        green teal emerald turquoise olive
        yellow golden blonde blond cream
        orange peach
        purple violet lavender magenta indigo
        pink magenta peach fuchsia
        brown tan beige olive
        black
        white cream ivory beige
        gray grey silver
        """.strip().splitlines(),
    )
}
# All of them
COLOURS = tuple(sorted(frozenset().union(*_SHADES.values())))
# Colour → the basic colours that it may pass for
COLOUR_KIN = {colour: frozenset(basic for basic in _SHADES if colour in _SHADES[basic]) for colour in COLOURS}

# Groups of sizes: within a group the first half is the opposite of the second
SIZES = (
    (_words("large big huge giant enormous massive gigantic"), _words("small little tiny miniature")),
    (_words("tall"), _words("short")),
    (_words("high"), _words("low")),
    (_words("long"), _words("short")),
    (_words("wide broad"), _words("narrow")),
    (_words("thick"), _words("thin")),
    (_words("fat"), _words("skinny slim")),
    (_words("deep"), _words("shallow")),
    (_words("larger bigger"), _words("smaller")),
    (_words("taller"), _words("shorter")),
    (_words("longer"), _words("shorter")),
)

# Sizes that are no size: "high school", "a little bit"
SIZE_IDIOMS = frozenset(
    {
        ("high", "school"),
        ("high", "chair"),
        ("high", "heels"),
        ("high", "chairs"),
        ("little", "bit"),
        ("short", "sleeves"),
    }
)
# Things whose "short" is the opposite of "tall"
TALL_THINGS = frozenset("tree trees building buildings tower towers wall fence men women people children".split())
# All of them, for looking up
SIZE_WORDS = frozenset(word for ones, others in SIZES for word in (*ones, *others))

# The numbers a picture can be counted by, in words; digits are the same numbers
COUNTS = _words("one two three four five six seven eight nine ten")
# The same in digits
DIGITS = _words("1 2 3 4 5 6 7 8 9 10")

# What things are made of, each with the common material it may pass for; those never replace each other
MATERIAL_KIN = {
    kin: first
    for first, *others in map(
        str.split,
        """
        wooden wood bamboo wicker oak pine
        metal steel iron metallic aluminum aluminium copper brass bronze chrome tin
        glass crystal
        plastic vinyl nylon
        stone granite marble rock cobblestone
        brick
        concrete cement
        paper cardboard
        leather suede
        rubber
        ceramic porcelain clay
        cloth cotton wool woolen woollen silk denim velvet linen canvas knitted
        """.strip().splitlines(),
    )
    for kin in (first, *others)
}
# Those that are hardly ever a thing of their own
MATERIALS = tuple(sorted(set(MATERIAL_KIN) - {"rock", "pine", "tin", "crystal", "knitted", "cloth"}))
# Those that a thing may be given
COMMON_MATERIALS = _words("wooden metal glass plastic stone brick concrete paper leather rubber ceramic")

# Actions of the same kind of subject, each a base form: within a group one excludes another, so it may stand for it.
# The first take no object ("sits on"), the second do ("holds a ball").
ACTIONS_ALONE = (
    _words("sit stand lie kneel crouch"),
    _words("sleep stand kneel"),
    _words("walk run jump crawl"),
    _words("swim float dive"),
    _words("smile frown yawn cry scream"),
    _words("stare point shout wave"),
    _words("ski skate surf snowboard skateboard"),
    _words("climb descend"),
    _words("arrive depart"),
    _words("sing dance"),
    _words("talk sleep read"),
    _words("graze sleep run"),
    _words("lean jump"),
)
# With an object
ACTIONS_WITH_OBJECT = (
    _words("eat cook serve throw"),
    _words("hold throw catch kick drop hit"),
    _words("carry push pull"),
    _words("drag push carry"),
    _words("open close"),
    _words("ride push wash chase"),
    _words("watch paint photograph"),
    _words("cut bake fry"),
    _words("read write tear"),
    _words("buy sell"),
    _words("enter leave"),
    _words("wear hold fold"),
    _words("hug kiss punch"),
    _words("drive repair wash"),
    _words("drink pour spill"),
    _words("build destroy"),
    _words("feed chase wash"),
    _words("brush lick hit"),
    _words("play watch"),
    _words("fly hold carry"),
    _words("cross leave"),
)
# Both
ACTIONS = ACTIONS_ALONE + ACTIONS_WITH_OBJECT

# Relations, each with what may stand for it: the opposite first, then others that exclude it
RELATIONS = {
    relation: others
    for relation, *others in map(
        _phrases,
        """
        to the left of, to the right of
        to the right of, to the left of
        on the left of, on the right of
        on the right of, on the left of
        on the left side of, on the right side of
        on the right side of, on the left side of
        left of, right of
        right of, left of
        above, below, beside
        below, above, beside
        over, under
        beneath, above, beside
        underneath, on top of, next to
        under, on top of, next to, behind
        on top of, underneath, next to, behind
        in front of, behind, next to
        behind, in front of, next to
        inside, outside, behind
        outside of, inside
        inside of, outside of
        outside, inside
        near, far from
        far from, near
        far away from, close to
        next to, far from, behind, in front of, on top of, under
        beside, far from, behind, in front of, on top of, under
        close to, far from
        by, far from, behind
        on, under, beside, behind
        onto, off, under
        in, outside of, next to, behind
        into, out of, past
        out of, into
        up, down
        down, up
        with, without
        without, with
        before, after
        after, before
        toward, away from
        towards, away from
        away from, towards
        across from, next to
        between, behind, in front of
        around, behind, in front of
        against, far from
        along, across
        across, along
        through, around, past
        at the top of, at the bottom of
        at the bottom of, at the top of
        at the front of, at the back of
        at the back of, at the front of
        in the front of, in the back of
        in the back of, in the front of
        """.strip().splitlines(),
    )
}

# Relations that say the same from both ends: "a cat next to a dog"
SYMMETRIC_RELATIONS = frozenset(
    "next to near beside besides close by alongside adjacent across from far with among".split()
)
# Verbs of posture, which leave such a relation the same from both ends
POSTURES = frozenset("sit stand lie lay park rest place".split())

# What "in" and "on" make a fixed saying with, so that no other relation can stand there: "in the air", "on sale"
SAYINGS = frozenset(
    """
    air sky background foreground distance line row rain snow sun shade dark wind color colour use display sale bloom
    flight motion way time day night morning afternoon evening summer winter spring fall noon dawn dusk weekend half
    picture photo image front middle public
    """.split()
)
# Participles that "in" belongs to: "covered in snow"
TAKE_IN = frozenset("covered dressed dipped wrapped bathed coated clad engaged interested involved drenched".split())

# Articles
ARTICLES = frozenset("a an the".split())

# Opens a noun phrase and is no part of it
DETERMINERS = ARTICLES | frozenset(
    "this that these those my your his her its our their some any each every no another either neither whose".split()
)

# Says vaguely how much, before a noun; no part of the phrase either
QUANTIFIERS = frozenset("several many few much most more all both various numerous multiple enough such".split())

# Numbers in words
NUMBERS = frozenset(COUNTS) | frozenset(
    """
    eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy
    eighty ninety hundred thousand dozen
    """.split()
)

# Stands for a thing and heads no phrase of its own
PRONOUNS = frozenset(
    """
    i you he she it we they me him us them who whom which what that this these those there something someone somebody
    anything anyone anybody everything everyone everybody nothing nobody none itself himself herself themselves myself
    yourself oneself ones mine yours hers ours theirs others each all both
    """.split()
)

# Helpers of a verb, with what is written together with "not"
AUXILIARIES = frozenset(
    """
    is are was were be been being am has have had having do does did will would can could may might must shall should
    isn't aren't wasn't weren't don't doesn't didn't hasn't haven't hadn't won't wouldn't can't cannot couldn't shouldn't
    it's he's she's they're there's that's
    """.split()
)

# Those that "not" follows
DENIABLE = frozenset("is are was were am can could will would should must may might does do did".split())

# Joins words or clauses
CONJUNCTIONS = frozenset("and or but nor so yet plus & than if because although though unless whether".split())

# Words of place, time and manner that govern a noun phrase
PREPOSITIONS = frozenset(
    """
    of in on at by for with without within from to into onto upon over under above below beneath underneath behind
    beside besides between among amongst amid near against across along alongside around through throughout inside
    outside off out down up past beyond toward towards during until till before after about like as via per next atop
    aboard while when where since except despite opposite minus unlike depicting featuring
    """.split()
)

# Relations of several words around a noun that is no thing of its own: "in front of", "on top of", "next to"
FIXED_RELATIONS = _phrases(
    """
    to the left of, to the right of, on the left of, on the right of, to the left side of, to the right side of,
    on the left side of, on the right side of, on the left hand side of, on the right hand side of,
    on top of, on the top of, at the top of, at the bottom of, on the bottom of, on the back of, at the back of,
    in the back of, in back of, in the front of, at the front of, on the front of, in front of, out in front of,
    on the side of, at the side of, by the side of, to the side of, along the side of, on the sides of,
    on the edge of, at the edge of, along the edge of, on the end of, at the end of, in the middle of,
    in the center of, in the centre of, in the midst of, on the inside of, on the outside of, next to, close to,
    close by, near to, far from, far away from, away from, across from, out of, off of, inside of, outside of,
    because of, instead of, such as, as well as, along with, together with, ahead of, left of, right of, adjacent to,
    opposite to, in between, up to, up against, due to, in order to, as if, as though, at least, at most, at all,
    one of, some of, any of, all of, each of, most of, many of, none of, both of, few of, several of, in front,
    on top, each other, one another, side by side
    """
)

# Groups and amounts before "of", which open a phrase and are no part of it: "a group of people", "lots of cars".
# Containers ("plate"), pieces ("slice") and parts ("top") are things of their own and are not here.
PARTITIVES = frozenset(
    """
    group groups bunch bunches lot lots couple couples pair pairs number numbers variety varieties row rows herd herds
    pile piles set sets flock flocks crowd crowds stack stacks collection collections assortment array series line lines
    dozens plenty majority handful hundreds thousands cluster clusters ton tons amount amounts type types kind kinds
    """.split()
)

# Says how, when or where; governs no noun phrase
ADVERBS = frozenset(
    """
    very really quite too also just only even still already almost not n't never always often again soon now then
    here there away back forward forwards backward backwards together apart outdoors indoors outside inside upside
    somewhere nearby overhead upstairs downstairs alone ahead else well maybe perhaps once twice sideways
    upright halfway aside abroad underwater closely ever today
    """.split()
)

# Describes a thing: not needed to find where a phrase begins, but to part "is empty" from "is a cup"
ADJECTIVES = frozenset(
    """
    old new young elderly modern ancient antique vintage rustic fresh ripe raw cooked hot cold warm cool frozen wet dry
    dirty clean dusty muddy snowy sandy grassy rocky icy rainy cloudy sunny foggy misty clear bright dark light pale
    colorful colourful multicolored striped spotted checkered plaid floral patterned plain shiny glossy matte smooth
    rough soft hard fluffy furry hairy bald curly straight curved round square rectangular circular oval triangular flat
    steep sharp blunt empty full open closed shut ready busy crowded quiet loud noisy calm rough happy sad angry sleepy
    tired cute adorable pretty beautiful handsome ugly lovely nice good bad great fine fancy elegant simple strange weird
    funny silly serious professional casual formal male female adult baby teenage asian african american european
    chinese japanese indian british french italian german hungry thirsty delicious tasty healthy sweet sour salty spicy
    different similar same other single double triple whole entire half main front rear upper
    lower left right top bottom middle central outer inner electric electronic digital mechanical public private local
    urban rural residential commercial industrial domestic wild tame free loose tight heavy light strong weak broken
    rusty worn tattered messy neat tidy bare nude naked barefoot topless shirtless lush leafy dense sparse tropical
    asleep awake alive dead sick safe dangerous rare common typical traditional historic famous popular special extra
    unusual able available complete visible blurry grainy unique massive concrete wooden golden woolen foreign stainless
    oncoming intersecting next first second third fourth last final own high low early late fast
    """.split()
)
# Name a thing where no other noun follows: "a traffic light", "ice cream"
ADJECTIVAL_NOUNS = frozenset(
    """
    light adult adults baby male female square professional orange public domestic cold dark native oval top cream olive
    peach violet lavender navy
    """.split()
)
# Describe a thing only from behind: "a dog asleep"
PREDICATIVE = frozenset("asleep awake alive afraid alone alike ready able aware full due unable visible".split())

# Verbs of captions, base form. The first are hardly ever nouns; the second may be, and a preposition or an article after
# them shows the verb; the third are mostly nouns, and only an article or a pronoun does
STRONG_VERBS = frozenset(
    """
    accept add adjust admire aim appear apply approach arrange arrive ask assist attach attempt attend bathe be
    become begin bend bounce bring browse build burn buy caress carry carve catch celebrate chase chat check cheer
    chew chop clap clasp clean climb cling close clutch collect come compete congregate consist contain converse
    cook cradle crash cross crouch cry cuddle dangle decorate deliver depart depict descend devour dig dine direct
    dive dodge drag drape dribble drift drink drive eat embrace emerge enjoy enter erupt examine exit explore extend
    fall feed fight fix flip float fly follow forage frolic fry gallop gather gaze get give glide go grab grapple
    grasp graze greet grin groom grow guide hang have hear help hide hike hit hold hop hover hug hunt include
    inspect interact jog join juggle jump keep kick kiss kneel knit know land laugh launch lay lead lean leap learn
    leave let lick lie lift line listen lounge lower lunge make march meander measure meet mix move mow munch
    navigate need nestle nibble observe occupy offer open operate overlook pass pat pause peck peddle peek peer
    perch perform photograph pick play polish pose pour practice prance pray prepare pretend produce protect pull
    punch push put raise reach read receive recline reflect relax remove repair resemble rest return ride rinse rise
    roam roast rub run rush salute say scatter scratch scream scrub see seem sell serve sew shake shape share shave
    shine shout sing sip sit sketch skim sleep smell smile sniff snuggle soar socialise socialize speak spill spin
    splash sprint squat squeeze stand stare stay steer stir straddle stretch stroll surround swallow sweep swim
    swoop take talk taste teach tear tell tend throw topple toss touch tow travel traverse trek trot try tug tumble
    unload use visit wade wag wait wake walk wander want wash wear weigh whisper wield wipe wrap wrestle write yawn
    yell
    """.split()
)
# May be nouns: a preposition or an article after them shows the verb
MEDIUM_VERBS = frozenset(
    """
    bite blow break brush cover crawl cut dance display draw dress drip drop face fill fish flap fold grill look nap
    order paddle paint park pedal peel pet pitch place point poke press race roll sail set shoot shop show skate
    skateboard ski skid slice slide smoke snap snowboard spray spread stack start step stick stop study surf swing
    tie trim turn type watch wave work
    """.split()
)
# Mostly nouns: only an article or a pronoun after them shows the verb
WEAK_VERBS = frozenset(
    """
    bat balance beat bloom board boil boat bow call cast cast color comb cool crowd curl dry dunk feature flow graffiti
    guard light live mount name nest number pack pile plant plow print record row shovel sign smash snow sport stamp
    store strap tackle tape tend test top trail train tuck water chat box rope
    """.split()
)
# All of them
VERBS = STRONG_VERBS | MEDIUM_VERBS | WEAK_VERBS

# Base → (past, participle), where no rule gives them
IRREGULAR_VERBS = {
    base: (past, participle)
    for base, past, participle in (
        line.split()
        for line in """
        be was been
        beat beat beaten
        become became become
        begin began begun
        bend bent bent
        bite bit bitten
        blow blew blown
        break broke broken
        bring brought brought
        build built built
        buy bought bought
        catch caught caught
        come came come
        cut cut cut
        dig dug dug
        dive dove dived
        do did done
        draw drew drawn
        drink drank drunk
        drive drove driven
        eat ate eaten
        fall fell fallen
        feed fed fed
        fight fought fought
        find found found
        fly flew flown
        get got gotten
        give gave given
        go went gone
        grow grew grown
        hang hung hung
        hear heard heard
        hide hid hidden
        hit hit hit
        hold held held
        keep kept kept
        kneel knelt knelt
        know knew known
        lay laid laid
        lead led led
        leave left left
        let let let
        lie lay lain
        light lit lit
        make made made
        put put put
        read read read
        ride rode ridden
        rise rose risen
        run ran run
        say said said
        see saw seen
        sell sold sold
        set set set
        sew sewed sewn
        shake shook shaken
        shine shone shone
        shoot shot shot
        sing sang sung
        sit sat sat
        sleep slept slept
        slide slid slid
        speak spoke spoken
        spin spun spun
        spread spread spread
        stand stood stood
        stick stuck stuck
        sweep swept swept
        swim swam swum
        swing swung swung
        take took taken
        teach taught taught
        tear tore torn
        tell told told
        throw threw thrown
        wake woke woken
        wear wore worn
        write wrote written
        """.strip().splitlines()
    )
}

# Nouns in -ing that are hardly ever verbs
ING_NOUNS = frozenset(
    """
    building buildings ceiling ceilings clothing evening evenings morning mornings king kings ring rings string strings
    wing wings thing things spring railing railings paintings drawings wedding weddings icing frosting topping toppings
    stuffing pudding lightning siding awning awnings crossings earring earrings dumpling dumplings duckling ducklings
    gosling goslings herring sibling siblings belongings surroundings bedding paving sting sling slings bling roofing
    being beings outing offering ping housing plumbing meeting meetings
    """.split()
)

# -ing words of verbs without an object: straight before a noun they describe it ("grazing sheep", "running water")
ING_DESCRIBES = frozenset(
    """
    sitting standing lying sleeping grazing smiling flowing falling rising melting glowing floating crashing matching
    running burning boiling oncoming surrounding missing blooming cheering waiting flashing blinking shining hanging
    growing leaning resting rolling swimming crying laughing pouring approaching sparkling interesting amazing relaxing
    dangling fluttering soaring roaring flying barking flowering overflowing flying steaming sizzling sloping winding
    towering neighboring overhanging existing aging corresponding contrasting stunning charming appetizing coming
    passing barking yawning galloping fleeing moving setting working living remaining
    """.split()
)

# What an -ing word is for, and the nouns that go with it: "a dining table", "two parking meters"
ING_PURPOSES = {
    ing: frozenset(nouns.split())
    for ing, nouns in (
        line.strip().split(": ")
        for line in """
        dining: room rooms area table tables hall chair chairs set car
        living: room rooms area space quarters
        parking: lot lots meter meters garage garages space spaces sign signs spot spots ticket tickets structure area
        cutting: board boards
        washing: machine machines
        walking: stick sticks path trail
        rocking: chair chairs horse
        swimming: pool pools trunks suit suits hole area
        sewing: machine machines kit
        shopping: cart carts bag bags center mall street area basket baskets
        frying: pan pans
        mixing: bowl bowls
        baking: sheet sheets pan pans dish tray soda
        sleeping: bag bags
        steering: wheel wheels
        changing: table room
        ironing: board boards
        vending: machine machines
        serving: tray trays dish bowl plate platter spoon
        drinking: fountain fountains glass glasses straw water
        diving: board
        measuring: cup cups tape spoon spoons
        riding: boots gear
        landing: gear strip
        loading: dock
        training: wheels
        waiting: room area
        running: shoes water
        skiing: gear slope
        fishing: boat boats pole poles rod rods net nets gear
        boxing: gloves match ring
        cooking: pot pots pan area utensils oil
        wrapping: paper
        writing: desk
        reading: glasses
        bowling: ball alley
        heating: vent
        hiking: trail boots
        racing: car cars bike bikes
        sailing: boat boats ship ships
        batting: cage helmet
        stuffing: mix
        playing: field fields card cards
        chewing: gum
        building: site blocks
        carving: knife
        operating: room table
        grocery: store
        """.strip().splitlines()
    )
}

# Ends in -s and is one thing, or ends like a verb's third person and is none
S_NOUNS = frozenset(
    """
    bus gas glass grass mass bass boss brass class compass mattress princess waitress cactus campus
    circus octopus platypus walrus hippopotamus rhinoceros tennis christmas canvas asparagus hummus citrus lens chess
    iris series news molasses atlas bias pus us species virus business fitness wilderness
    stainless glasses scissors pants jeans shorts trousers binoculars goggles sunglasses pajamas headphones tongs
    """.split()
)

# Plurals without -s
IRREGULAR_PLURALS = {
    "man": "men",
    "woman": "women",
    "child": "children",
    "person": "people",
    "foot": "feet",
    "tooth": "teeth",
    "mouse": "mice",
    "goose": "geese",
    "sheep": "sheep",
    "deer": "deer",
    "fish": "fish",
    "bison": "bison",
    "knife": "knives",
    "leaf": "leaves",
    "loaf": "loaves",
    "shelf": "shelves",
    "wolf": "wolves",
    "calf": "calves",
    "half": "halves",
    "wife": "wives",
    "scarf": "scarves",
    "tomato": "tomatoes",
    "potato": "potatoes",
}
# Those, and names of groups
PLURALS = frozenset(IRREGULAR_PLURALS.values()) | frozenset(
    "adults police cattle giraffe firemen firefighters policemen fishermen snowmen surfers women salmon".split()
)

# Who acts: after these a word in -s is a verb ("the man lights a candle")
ACTORS = frozenset(
    """
    man woman boy girl child kid person baby toddler guy lady player rider surfer skier snowboarder skateboarder skater
    batter pitcher catcher umpire driver worker officer policeman fireman chef cook waiter waitress farmer cyclist biker
    mother father mom dad brother sister couple family teenager teen student teacher gentleman individual someone he she
    it who which dog cat puppy kitten horse cow elephant giraffe zebra bear bird sheep goat lamb lion monkey duck goose
    seagull pigeon parrot owl calf pony bull pig crowd team group
    """.split()
)

# Ends in -ly and describes a thing, or is one
LY_WORDS = frozenset(
    """
    family fly belly jelly lily bully butterfly dragonfly supply assembly ally rally july italy reply
    friendly lovely early curly elderly ugly hilly woolly wooly bubbly chilly smelly silly lonely lively wrinkly prickly
    cuddly deadly daily weekly monthly homely costly holy ghostly orderly stately scaly only
    """.split()
)

# Spelt with a vowel and said without, and the other way round: "a unicorn", "an hour"
SAID_WITH_CONSONANT = ("uni", "use", "usu", "uti", "euro", "eu", "ewe", "one", "once", "ukulele", "urin", "u.s")
SAID_WITH_VOWEL = ("hour", "honest", "honor", "honour", "heir")
UN_WORDS = ("unid", "unin", "unim")  # un- before i: "an unidentified man"
