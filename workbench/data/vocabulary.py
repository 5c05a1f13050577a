"""Two hundred concrete everyday words: what a patch may answer to, and the neutral reference that maps are centred on."""

EVERYDAY_WORDS: tuple[str, ...] = tuple(
    """
    person man woman child baby face eye hair hand foot smile crowd
    dog cat horse cow sheep pig bird duck eagle owl fish shark snake lizard frog turtle insect butterfly bee spider
    elephant bear lion monkey rabbit mouse fox deer
    tree leaf flower grass bush branch root seed fruit apple banana orange lemon grape strawberry tomato potato carrot
    onion pepper mushroom bread cheese egg meat rice soup cake chocolate coffee tea milk water wine beer ice
    car bus truck train bicycle motorcycle boat ship airplane helicopter rocket wheel engine road bridge street sign
    house building tower church castle door window roof wall fence garden room kitchen bathroom bed chair table sofa
    lamp clock mirror shelf box bottle cup plate bowl spoon fork knife pan basket bag
    book page letter number pen paper picture map screen keyboard telephone camera radio guitar piano drum
    shirt dress trousers shoe hat coat glove glasses ring coin money key tool hammer rope wire ball toy kite
    sky cloud sun moon star rain snow fire smoke shadow light mountain hill river lake sea beach desert forest field cave
    red orange-coloured yellow green blue purple pink brown black white grey
    metal wood stone brick glass plastic cloth leather rubber sand mud gold silver
    striped spotted smooth rough shiny furry transparent round square
    """.split()
)
