"""Words that say nothing of what a text is about, by language: articles, pronouns, prepositions, auxiliaries.

Closed classes of words only, as they are written, in lower case. A language that is not here has none; its common words
then weigh little by themselves, because they stand everywhere.
"""

from __future__ import annotations

STOP_WORDS: dict[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "arabic": """
            في من على إلى الى عن مع هذا هذه ذلك تلك التي الذي الذين ما لا لم لن إن أن ان كان كانت يكون هو هي هم نحن أنا
            أنت قد كل أو او ثم و بين بعد قبل عند حتى إذا اذا كما لكن منذ غير
        """,
        "catalan": """
            el la els les un una uns unes de del dels a al als en amb per i o que qui què com quan on no sí és són era eren
            ser estar ha han haver he hem es se li ho hi jo tu ell ella nosaltres ells elles el meu la meva més però també
        """,
        "danish": """
            og i jeg det at en den til er som på de med han af for ikke der var mig sig men et har om vi min havde ham hun
            nu over da fra du ud sin dem os op man hans hvor eller hvad skal selv her alle vil blev kunne ind når være
            dog noget ville deres efter ned skulle denne end dette mit også under have dig anden hende mine alt meget
            disse hvis din nogle hos blive mange ad bliver hendes været thi jer sådan
        """,
        "dutch": """
            de en van ik te dat die in een hij het niet zijn is was op aan met als voor had er maar om hem dan zou of wat
            mijn men dit zo door over ze zich bij ook tot je mij uit der daar haar naar heb hoe heeft hebben deze u want
            nog zal me zij nu ge geen omdat iets worden toch al waren veel meer doen toen moet ben zonder kan hun dus
            alles onder ja werd wezen zelf tegen na wil kon niets uw iemand geweest andere
        """,
        "english": """
            i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself
            it its itself they them their theirs themselves what which who whom this that these those am is are was were be
            been being have has had having do does did doing a an the and but if or because as until while of at by for with
            about against between into through during before after above below to from up down in out on off over under
            again further then once here there when where why how all any both each few more most other some such no nor not
            only own same so than too very s t can will just don should now
        """,
        "finnish": """
            olla olen olet on olemme olette ovat ole oli en et ei emme ette eivät minä minun minut sinä sinun hän hänen me
            meidän te he heidän tämä tämän tätä tässä tästä tuo tuon se sen sitä siinä siitä nämä nuo ne niiden kuka kenen
            mikä minkä mitä missä mistä mihin joka jonka jota jossa josta jotka joiden että ja jos koska kuin mutta niin
            sekä sillä tai vaan vai vaikka kanssa mukaan noin poikki yli kun nyt itse
        """,
        "french": """
            au aux avec ce ces dans de des du elle en et eux il ils je la le les leur leurs lui ma mais me même mes moi mon
            ne nos notre nous on ou par pas pour qu que qui sa se ses son sur ta te tes toi ton tu un une vos votre vous c d
            j l à m n s t y est es suis sommes êtes sont était étaient été être étant sera seront serait a ai as avons avez
            ont avait avaient avoir ayant aura eu soit quel quelle quels quelles dont où cette cet ainsi donc si comme plus
        """,
        "german": """
            aber alle allem allen aller alles als also am an ander andere anderem anderen anderer anderes auch auf aus bei
            bin bis bist da damit dann das dass daß dasselbe dazu dein deine dem demselben den denn der derer derselbe des
            dessen dich die dies diese dieselbe dieselben diesem diesen dieser dieses dir doch dort du durch ein eine einem
            einen einer eines einig einige einigem einigen einiger einiges einmal er es etwas euch euer eure für gegen
            gewesen hab habe haben hat hatte hatten hier hin hinter ich ihm ihn ihnen ihr ihre ihrem ihren ihrer ihres im in
            indem ins ist jede jedem jeden jeder jedes jene jener jenes jetzt kann kein keine keinem keinen keiner können
            könnte machen man manche mancher mein meine mich mir mit muss musste nach nicht nichts noch nun nur ob oder ohne
            sehr sein seine seinem seinen seiner seines selbst sich sie sind so solche solcher soll sollte sondern sonst
            über um und uns unser unsere unter viel vom von vor während war waren warst was weg weil weiter welche welcher
            welches wenn werde werden wie wieder will wir wird wirst wo wollen wollte würde würden zu zum zur zwar zwischen
        """,
        "greek": """
            ο η το οι τα του της των τον την τους τις ένα ένας μια μία και κι να θα με σε για από στο στη στην στον στα στους
            στις που πως ότι αν δεν μη μην είναι ήταν έχει έχουν αυτό αυτός αυτή αυτά αλλά ή όπως πιο μας σας
        """,
        "hindi": """
            का की के को में से पर और है हैं था थी थे यह वह ये वे इस उस एक नहीं ही भी तो कि जो ने तक लिए साथ या हो होता
            होती होते कर करने किया गया गई गए अपने कुछ जब
        """,
        "hungarian": """
            a az egy és hogy nem is ez ezt azt ki mi van volt lesz de ha mint meg már csak ami amely akik aki el ezek azok
            ennek annak vagy még be le fel össze ezért azért én te ő mi ti ők minden majd így úgy igen lehet kell
        """,
        "indonesian": """
            yang dan di ke dari ini itu untuk dengan pada adalah dalam tidak akan atau oleh juga sebagai karena ada bahwa
            saya kami kita dia mereka anda telah sudah dapat bisa
        """,
        "italian": """
            ad al allo ai agli alla alle con col coi da dal dallo dai dagli dalla dalle di del dello dei degli della delle in
            nel nello nei negli nella nelle su sul sullo sui sugli sulla sulle per tra contro io tu lui lei noi voi loro mio
            mia miei mie tuo tua suo sua suoi sue nostro nostra vostro mi ti ci vi lo la li le gli ne il un uno una ma ed se
            perché anche come dov dove che chi cui non più quale quanto quanti quello quella questo questa questi queste si
            tutto tutti a c e i l o ho ha hai abbiamo hanno aveva avevano è sono era erano sia essere stato stata fu
        """,
        "norwegian": """
            og i jeg det at en et den til er som på de med han av ikke der så var meg seg men ett har om vi min mitt ha hadde
            hun nå over da ved fra du ut sin dem oss opp man kan hans hvor eller hva skal selv sjøl her alle vil bli ble
            blitt kunne inn når være kom noen noe ville dere deres kun ja etter ned skulle denne for deg si sine sitt mot å
            hvorfor dette disse uten hvordan ingen din ditt blir samme hvilken hvilke sånn enn både bare mens også
        """,
        "polish": """
            i w z na do się nie że jest to o jak za co po od ale czy dla tak tego tym ten ta te są być był była było przez przy
            już tylko który która które którzy lub oraz a u ze we ich jego jej im on ona ono oni my wy ja ty go mu może
        """,
        "portuguese": """
            de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao ele das tem à seu sua ou
            ser quando muito há nos já está eu também só pelo pela até isso ela entre era depois sem mesmo aos ter seus quem
            nas me esse eles estão você tinha foram essa num nem suas meu às minha têm numa pelos elas havia seja qual nós
            lhe deles essas esses pelas este dele tu te vocês vos lhes meus minhas teu tua nosso nossa este estes esta estas
            aquele aquela aquilo são
        """,
        "romanian": """
            și în de la cu pe un o nu că din pentru este sunt a al ai ale sau care mai ce se să au fost era prin după dar ca
            el ea ei ele eu tu noi voi lui lor acest această acestea fi am ați îi îl le
        """,
        "russian": """
            и в во не что он на я с со как а то все она так его но да ты к у же вы за бы по только ее мне было вот от меня еще
            нет о из ему теперь когда даже ну ли если уже или ни быть был него до вас нибудь опять уж вам ведь там потом себя
            ничего ей может они тут где есть надо ней для мы тебя их чем была сам чтоб без будто чего раз тоже себе под будет
            ж тогда кто этот того потому этого какой совсем ним здесь этом один почти мой тем чтобы нее были куда зачем всех
            можно при об другой хоть после над больше тот через эти нас про всего них какая много разве эту моя свою этой
            перед иногда чуть том нельзя такой им более всегда конечно всю между
        """,
        "spanish": """
            de la que el en y a los del se las por un para con no una su al lo como más pero sus le ya o este sí porque esta
            entre cuando muy sin sobre también me hasta hay donde quien desde todo nos durante todos uno les ni contra otros
            ese eso ante ellos e esto mí antes algunos qué unos yo otro otras otra él tanto esa estos mucho quienes nada
            muchos cual poco ella estar estas algunas algo nosotros mi mis tú te ti tu tus ellas nosotras es son era eran ser
            fue ha han había está están soy sea
        """,
        "swedish": """
            och det att i en jag hon som han på den med var sig för så till är men ett om hade de av icke mig du henne då sin
            nu har inte hans honom skulle hennes där min man ej vid kunde något från ut när efter upp vi dem vara vad över än
            dig kan sina här ha mot alla under någon eller allt mycket sedan ju denna själv detta åt utan varit hur ingen
            mitt ni bli blev oss din dessa några deras blir mina samma vilken er sådan vår blivit dess inom mellan sådant
            varför varje vilka ditt vem vilket sitta sådana vart dina vars vårt våra ert era vilkas
        """,
        "turkish": """
            ve bir bu da de için ile o ne gibi daha çok var yok ama mi mı mu mü ya en her ben sen biz siz onlar şu ki olan
            olarak sonra kadar ancak veya hem ise değil
        """,
    }.items()
}
