"""Texts of our own in twelve languages, and of the kinds that agents send, to count tokens of."""

# ruff: noqa: RUF001 - what looks like another letter is one

import json
import random

LANGUAGES = {
    "English": [
        "A gateway stands between two places and lets through what may pass.",
        "The harbour was quiet, and only the gulls seemed to know that a storm was coming.",
        "Please rename the function, update its callers, and run the tests again before you commit.",
        "She counted the apples twice: forty-two in the basket, seven on the table.",
        "Nobody had opened the letter, because nobody had expected an answer.",
        "Retry the request after the time that the server names, and not before.",
    ],
    "German": [
        "Ein Übergang verbindet zwei Orte und lässt durch, was hindurch darf.",
        "Der Hafen war still, und nur die Möwen schienen zu wissen, dass ein Sturm kam.",
        "Bitte benenne die Funktion um, passe die Aufrufer an und starte die Prüfungen erneut.",
        "Sie zählte die Äpfel zweimal: zweiundvierzig im Korb, sieben auf dem Tisch.",
        "Niemand hatte den Brief geöffnet, weil niemand eine Antwort erwartet hatte.",
        "Die Geschwindigkeitsbegrenzung gilt für sämtliche Zugangsberechtigungen gleichermaßen.",
    ],
    "French": [
        "Une passerelle relie deux endroits et laisse passer ce qui en a le droit.",
        "Le port était calme, et seules les mouettes semblaient savoir qu'un orage approchait.",
        "Renomme la fonction, corrige ceux qui l'appellent et relance les tests, s'il te plaît.",
        "Elle compta les pommes deux fois : quarante-deux dans le panier, sept sur la table.",
        "Personne n'avait ouvert la lettre, car personne n'attendait de réponse.",
        "Réessayez après le délai que le serveur indique, et pas avant.",
    ],
    "Spanish": [
        "Una pasarela une dos lugares y deja pasar lo que puede pasar.",
        "El puerto estaba tranquilo, y solo las gaviotas parecían saber que venía una tormenta.",
        "Cambia el nombre de la función, actualiza las llamadas y vuelve a ejecutar las pruebas.",
        "Contó las manzanas dos veces: cuarenta y dos en la cesta, siete en la mesa.",
        "Nadie había abierto la carta, porque nadie esperaba una respuesta.",
        "Repita la petición después del tiempo que indica el servidor, y no antes.",
    ],
    "Turkish": [
        "Bir geçit iki yeri birbirine bağlar ve geçmesine izin verileni geçirir.",
        "Liman sessizdi ve fırtınanın geldiğini yalnızca martılar biliyor gibiydi.",
        "Lütfen işlevi yeniden adlandır, çağıranları güncelle ve testleri tekrar çalıştır.",
        "Elmaları iki kez saydı: sepette kırk iki, masada yedi tane vardı.",
        "Kimse mektubu açmamıştı, çünkü kimse bir yanıt beklemiyordu.",
        "İsteği sunucunun belirttiği süreden sonra yineleyin, daha önce değil.",
    ],
    "Russian": [
        "Шлюз стоит между двумя местами и пропускает то, чему можно пройти.",
        "Гавань была тиха, и только чайки, казалось, знали, что приближается буря.",
        "Пожалуйста, переименуй функцию, исправь её вызовы и снова запусти проверки.",
        "Она пересчитала яблоки дважды: сорок два в корзине и семь на столе.",
        "Никто не открыл письмо, потому что никто не ждал ответа.",
        "Повторите запрос по истечении времени, которое называет сервер, и не раньше.",
    ],
    "Chinese": [
        "网关位于两地之间,只让允许通过的东西通过。",
        "港口很安静,似乎只有海鸥知道暴风雨就要来了。",
        "请重命名这个函数,更新所有调用的地方,然后再次运行测试。",
        "她把苹果数了两遍:篮子里有四十二个,桌子上有七个。",
        "没有人打开那封信,因为没有人期待回信。",
        "请在服务器指定的时间之后重试请求,不要提前。",
    ],
    "Japanese": [
        "ゲートウェイは二つの場所の間に立ち、通ってよいものだけを通します。",
        "港は静かで、嵐が来ることを知っているのはカモメだけのようでした。",
        "関数の名前を変え、呼び出し元を直し、もう一度テストを実行してください。",
        "彼女はりんごを二度数えました。かごに四十二個、机の上に七個です。",
        "誰も返事を待っていなかったので、誰も手紙を開けませんでした。",
        "サーバーが示す時間が過ぎてから、要求をもう一度送ってください。",
    ],
    "Korean": [
        "게이트웨이는 두 곳 사이에 서서 지나가도 되는 것만 통과시킵니다.",
        "항구는 조용했고, 폭풍이 오고 있다는 것을 갈매기들만 아는 듯했습니다.",
        "함수의 이름을 바꾸고 호출하는 곳을 고친 뒤 테스트를 다시 실행해 주세요.",
        "그녀는 사과를 두 번 세었습니다. 바구니에 마흔두 개, 탁자 위에 일곱 개였습니다.",
        "아무도 답장을 기다리지 않았기 때문에 아무도 편지를 열지 않았습니다.",
        "서버가 알려 주는 시간이 지난 뒤에 요청을 다시 보내십시오.",
    ],
    "Arabic": [
        "تقف البوابة بين مكانين وتسمح بمرور ما يحق له المرور.",
        "كان الميناء هادئا، وبدا أن النوارس وحدها تعرف أن عاصفة قادمة.",
        "من فضلك أعد تسمية الدالة، وحدث من يستدعيها، ثم شغل الاختبارات مرة أخرى.",
        "عدت التفاح مرتين: اثنتان وأربعون في السلة، وسبع على الطاولة.",
        "لم يفتح أحد الرسالة، لأن أحدا لم يكن ينتظر جوابا.",
        "أعد إرسال الطلب بعد المدة التي يحددها الخادم، وليس قبلها.",
    ],
    "Hindi": [
        "द्वार दो जगहों के बीच खड़ा होता है और जिसे जाने की अनुमति है उसे जाने देता है।",
        "बंदरगाह शांत था, और केवल समुद्री पक्षी जानते थे कि तूफ़ान आने वाला है।",
        "कृपया फ़ंक्शन का नाम बदलें, उसे बुलाने वालों को सुधारें और परीक्षण फिर से चलाएँ।",
        "उसने सेब दो बार गिने: टोकरी में बयालीस और मेज़ पर सात।",
        "किसी ने पत्र नहीं खोला, क्योंकि किसी को उत्तर की आशा नहीं थी।",
        "सर्वर जितना समय बताए उसके बाद ही अनुरोध दोबारा भेजें, पहले नहीं।",
    ],
    "Thai": [
        "เกตเวย์อยู่ระหว่างสองสถานที่และให้สิ่งที่ได้รับอนุญาตผ่านไปได้",
        "ท่าเรือเงียบสงบ และดูเหมือนว่ามีแต่นกนางนวลที่รู้ว่าพายุกำลังมา",
        "กรุณาเปลี่ยนชื่อฟังก์ชัน แก้ไขส่วนที่เรียกใช้ แล้วทดสอบอีกครั้ง",
        "เธอนับแอปเปิลสองครั้ง ในตะกร้ามีสี่สิบสองลูก บนโต๊ะมีเจ็ดลูก",
        "ไม่มีใครเปิดจดหมาย เพราะไม่มีใครรอคำตอบ",
        "โปรดส่งคำขออีกครั้งหลังจากเวลาที่เซิร์ฟเวอร์ระบุ และอย่าส่งก่อนหน้านั้น",
    ],
}
CODE = [
    "def add(left: int, right: int) -> int:\n    return left + right\n\n\nprint(add(2, 3))\n",
    "for (let i = 0; i < items.length; i++) {\n\tconst { id, name } = items[i];\n\tseen.add(id);\n}\n",
    "SELECT id, name, count(*) AS n FROM orders WHERE at > '2026-01-01' GROUP BY 1, 2 HAVING count(*) > 10;\n",
    'error[E0382]: borrow of moved value: `names`\n  --> src/main.rs:17:20\n   |\n17 |     println!("{:?}", names);\n',
    "drwxr-xr-x  5 user user  4096 Nov 27 06:19 src\n-rw-r--r--  1 user user 14426 Nov 27 06:19 README.md\n",
    "2026-11-27T06:23:54.123Z INFO request_id=req_0f1e2d3c status=200 bytes=18342 took_ms=12.75\n",
]


def texts(count: int = 200) -> list[tuple[str, str]]:
    """So many texts with what they are: of each language in turn, and every tenth of code or JSON."""
    dice = random.Random(7)
    made: list[tuple[str, str]] = []
    names = list(LANGUAGES)
    for number in range(count):
        if number % 10 == 9:
            lines = [dice.choice(CODE) for _ in range(dice.randint(1, 12))]
            as_json = json.dumps({"lines": lines, "numbers": [dice.randint(0, 10**6) for _ in range(20)]}, indent=2)
            made.append(("code", as_json if number % 20 == 9 else "".join(lines)))
        else:
            name = names[number % len(names)]
            joined = " ".join(dice.choice(LANGUAGES[name]) for _ in range(dice.randint(1, 40)))
            made.append((name, joined))
    return made
