"""Names of T1 series and values of ContrastBolusAgent as sites of the trial's countries write them."""

AFTER = (
    # German
    "t1_se_tra_KM", "T1 nach KM", "t1 mprage m.KM", "T1 SE tra mit KM", "T1 ax post KM",
    "t1_tse_sag_nach_Kontrastmittel",
    "T1 +KM", "T1w mit Kontrastmittel", "t1_vibe_tra_p.KM", "T1 nach Gabe von KM", "T1 mKM tra", "T1 KM+",
    # French
    "T1 GADO", "AX T1 avec injection", "SAG T1 3D apres injection", "T1 SE INJ", "T1 après gadolinium",
    "3D T1 avec gado",
    "T1 post injection", "T1 avec PDC", "T1 EG 3D injecté", "T1 AVEC CONTRASTE", "T1 IV+",
    # Italian
    "T1 con mdc", "T1 SE ax dopo mdc", "T1 post m.d.c.", "SE T1 dopo contrasto", "T1 3D con mezzo di contrasto",
    "T1 dopo gadolinio", "t1_mprage_c_mdc", "T1 TSE MDC",
    # Spanish
    "T1 con contraste", "T1 SE AX C/C", "T1 GADOLINIO", "SAG T1 post gd", "T1 con civ", "T1 AX C/ GADO",
    "T1 tras contraste", "T1 después de contraste", "T1 pos contraste", "T1 poscontraste",
    # Catalan
    "T1 amb contrast", "T1 despres de contrast", "T1 amb gadolini", "AX T1 post contrast",
    # Danish
    "T1 med kontrast", "t1 efter kontrast", "T1 m. kontrast", "T1 +K", "T1 m/kontrast", "t1_tra_m.k.",
    # Swedish
    "T1 med kontrast tra", "T1 efter kontrastmedel", "T1 SE efter Gd", "T1 e Kontrast",
    # Dutch
    "T1 met contrast", "T1 na contrast", "3D T1 na gado", "T1 TFE na gadolinium", "T1 met gado",
    # Portuguese
    "T1 com contraste", "T1 pós contraste", "AX T1 C/ CONTRASTE", "T1 SE após gadolínio", "T1 POS-GD", "T1 c/gd",
    # English
    "T1 POST", "Ax T1 SE +C", "Sag 3D T1 BRAVO +C", "T1 W CONTRAST", "AX T1 W/ GAD", "T1 post-contrast",
    "T1POSTGD",
    "AX T1 C+", "T1_MPRAGE_POST_GAD", "T1 CE", "T1w enhanced", "T1 with contrast", "Cor T1 FS POST", "T1CE_AXIAL",
    "T1Gd", "+C AX T1 FSE", "T1 after contrast", "T1 W/CONTRAST", "PostContrast T1 3D", "T1 W GAD", "AX T1 GAD",
    "T1+Gd", "Ax T1 FLAIR+C", "T1 SE Dotarem", "T1 Gadovist 7.5 ml", "Multihance T1", "T1-Gd", "T1c",
    # Persian, transliterated
    "T1 ba haajeb", "T1 ba hajeb", "T1 bad az tazrigh", "T1 baad az contrast", "T1 ba tazrigh", "T1 ba contrast",
    # Norwegian
    "T1 med kontrastmiddel", "T1 etter kontrast", "T1 etter Gd", "T1 m/kontrast tra", "T1 etter i.v. kontrast",
    # versions of a protocol, and properties of the acquisition
    "T1 V2.0 KM", "T1 v.2 KM", "T1 v. 2 KM", "T1 CUBE V.2 GD", "T1 GD-free breathing", "T1 KM-freie Atmung",
    "T1 Gd-less motion",
)  # fmt: skip

BEFORE = (
    # German
    "T1 vor KM", "T1 nativ", "t1_se_tra_nativ", "T1 ohne KM", "T1 o.KM", "t1_mprage_o_KM", "T1 vor Kontrastmittel",
    "T1 SE tra ohne Kontrastmittel", "T1 oKM", "T1 prae KM", "T1 -KM", "T1 vor Gabe", "T1 native", "T1 KM-",
    # French
    "T1 sans injection", "AX T1 sans gado", "T1 avant injection", "T1 sans IV", "T1 avant gadolinium",
    "3D T1 sans PDC",
    "T1 SE sans contraste", "T1 pré-injection", "T1 non injecté", "T1 IV-",
    # Italian
    "T1 senza mdc", "T1 SE basale", "T1 pre mdc", "T1 senza contrasto", "T1 prima del mdc", "T1 s.mdc",
    "T1 senza m.d.c.", "T1 diretta", "T1 senza mezzo di contrasto",
    # Spanish
    "T1 sin contraste", "T1 AX S/C", "T1 SE basal", "T1 sin civ", "T1 antes de contraste", "T1 pre gd",
    "T1 sin gadolinio",
    "T1 S/ CONTRASTE", "T1 precontraste",
    # Catalan
    "T1 sense contrast", "T1 abans de contrast", "AX T1 sense gadolini", "T1 pre contrast",
    # Danish
    "T1 uden kontrast", "t1 før kontrast", "T1 u. kontrast", "T1 -K", "T1 u/kontrast", "t1_tra_u.k.",
    # Swedish
    "T1 utan kontrast", "T1 före kontrast", "T1 innan kontrastmedel", "T1 utan Gd",
    # Dutch
    "T1 zonder contrast", "T1 voor contrast", "T1 blanco", "3D T1 zonder gado", "T1 voor gadolinium",
    # Portuguese
    "T1 sem contraste", "T1 pré contraste", "AX T1 SEM GD", "T1 s/gd", "T1 antes do contraste",
    # English
    "T1 PRE", "AX T1 W/O", "T1 w/o contrast", "T1 WITHOUT CONTRAST", "Ax T1 -C", "AX T1 C-", "T1_MPRAGE_PRE_GAD",
    "T1 non-contrast", "T1 unenhanced", "T1 noncon", "AX T1 WO", "T1 no gad", "Ax T1 pre-contrast", "PreGd T1",
    "T1 NON CONTRAST", "T1 before contrast", "T1 no contrast", "T1PREGD", "T1 WO CON",
    # Persian, transliterated
    "T1 bedoone haajeb", "T1 bedune hajeb", "T1 ghabl az tazrigh", "T1 bedoon contrast", "T1 bedoone tazrigh",
    "T1 qabl az haajeb",
    # Norwegian
    "T1 uten kontrast", "T1 uten KM", "T1 uten Gd", "T1 før kontrastmiddel", "T1 ingen kontrast",
    "T1 uten i.v. kontrast", "T1 kontrast ikke gitt",
)  # fmt: skip

SILENT = (
    "t1_se_tra", "t1_mprage_sag_p2_iso", "Ax T1 SE", "sT1W_3D_TFE", "T1 posterior fossa", "T1 cerebrum",
    "T1 SE HEAD",
    "T1 post fossa", "T1 cor post op", "T1 basal ganglia", "T1 AX NPW no phase wrap", "T1 3D prescan normalize",
    "T1 W/WO CONTRAST", "Brain with and without contrast", "T1 pre and post Gd", "T1W SE", "T1 tra +", "t1 presat",
    "3D T1 MPRAGE Munchen", "T1 con saturacion", "T1 med FOV", "T1 met MPR", "T1 com SAT", "T1 m o s", "",
    "MR Kopf mit und ohne KM", "T1 coronal", "T1 se c tra", "cerebro sin y con contraste", "T1 W",
    "crane sans et avec injection",
)  # fmt: skip

AGENT_NOT_GIVEN = (
    "keins", "KM: keins", "keinerlei", "nope", "nullo", "nulla", "brak", "nem",
    "", " ", "NO", "NONE", "N", "0", "NATIVE", "nativ", "WITHOUT", "OHNE", "SANS", "NULL", "N/A", "-", "--",
    "no contrast",
    "No", "n.a.", "kein", "keine", "kein KM", "ohne KM", "sin contraste", "senza mdc", "geen",
    "zonder contrast", "ingen",
    "uden kontrast", "utan kontrast", "sem contraste", "sense contrast", "aucun", "nessuno", "ninguno",
    "nenhum", "cap",
    "not given", "none given", "unknown", "unbekannt", "inconnu", "desconocido", "sconosciuto", "ukendt", "?",
    "0 ml", "0.0",
    "NaCl", "saline", "Ringer", "Saline flush",
    "NIL", "false", "No contrast agent", "W/O", "nein", "nej", "bedoone haajeb", "not applicable",
    "unspecified", "XX", ".",
)  # fmt: skip

AGENT_GIVEN = (
    "Gd-DOTA", "DOTAREM", "Yes", "GADOVIST", "Gadavist 7.5", "Magnevist", "KM", "15 ml Dotarem", "Clariscan",
    "ProHance",
    "gadolinium", "Gadobutrol", "MultiHance", "contrast", "mdc", "ja", "oui", "si", "Y", "1", "0.1 mmol/kg",
    "7,5 ml",
    "Omniscan 20cc", "IV", "Gadoterate meglumine", "Vueway", "Artirem", "Magnegita", "true", "GD", "Cyclolux",
    "Dotagraf",
)  # fmt: skip

# Names that an earlier version read wrongly, in either direction.
DENIED = (
    # German
    "T1 keinen Kontrast", "T1 keiner KM-Gabe", "T1 ohne das KM", "T1 KM nicht verabreicht", "T1 KM nicht gegeben fs",
    "T1 KM nein fs", "T1 KM-Gabe nicht erfolgt", "T1 KM=0 tra", "T1 KM: nein tra", "T1_KM_nein_3D",
    "T1 KM keins", "KM: keins", "T1 KM (keins) tra",
    "T1 ohne jegliches KM", "T1 vor dem KM",
    # French
    "T1 aucune injection", "T1 sans aucune injection", "T1 avant l'injection de gado", "T1 gado: non",
    "T1 injection non faite",
    # Italian
    "T1 prima della iniezione", "T1 prima dell'iniezione", "T1 prima della somministrazione di mdc",
    "T1 senza il mezzo di contrasto", "T1 senza somministrazione di mdc", "T1 nessuna iniezione",
    "T1 mdc non somministrato",
    # Spanish
    "T1 ninguna inyección", "T1 sin administración de contraste", "T1 antes de administrar contraste",
    # Catalan
    "T1 sense injecció", "T1 sense el contrast", "T1 sense mitjà de contrast", "T1 sense administració de contrast",
    "SENSE CONTRAST T1",
    # Danish
    "T1 intet kontrast", "T1 ikke givet kontrast", "T1 kontrast ikke givet tra", "T1 før indgift af kontrast",
    # Swedish
    "T1 ej given kontrast", "T1 kontrast ej given",
    # Dutch
    "T1 zonder het contrast", "T1 voor het contrast", "T1 contrast niet toegediend",
    "T1 zonder toediening van contrast",
    # Portuguese
    "T1 nenhuma injeção", "T1 sem administração de contraste", "T1 contraste não administrado fs",
    # English
    "T1 contrast not given fs", "T1 contrast agent not given", "T1 contrast: none ax", "T1 contrast=no ax",
    "T1 contrast absent",
    "T1 without intravenous contrast", "T1 zero contrast", "T1 Gd=0 ax", "T1 contrast refused",
    "T1 injection - no", "T1 KM, nein", "T1 non - contrast", "MPRAGE - ohne KM",
    # Persian
    "T1 bedun-e hajeb", "T1 bidun hajeb", "T1 bi tazrigh", "T1 bi tazrigh haajeb",
    # signs
    "T1 Gd [-]", "T1 Gd (-)", "T1 \N{MINUS SIGN}Gd", "T1 \N{NON-BREAKING HYPHEN}Gd",
    "T1 C\N{MINUS SIGN}", "(-) KM T1", "T1 (-)Gd", "T1 [-] Gd", "T1 0 ml KM", "T1 KM 0 ml fs", "T1 KM 0,0 ml",
    # behind a sign of fat saturation or MT
    "T1 FS+ KM-", "T1 FS+ C-", "AX T1 MT+ GD-", "T1 FS- C-", "T1 MT- KM-", "T1 FS- -KM", "T1 FS+/C-", "T1 SENSE+ KM-",
    "AX FS+ T1 C-", "T1 FS+ -C",
    # free of the agent
    "Gad-free", "T1 Gd-free", "T1 Gd-free fs", "T1 contrast-free", "T1 contrast free", "T1 KM-frei", "T1 KM-frei tra",
    "T1 kontrastmittelfrei", "T1 kontrastmittel-frei", "kontrastfri", "T1 kontrastfritt", "T1 contrastvrij",
    "T1 gadolinium-vrij", "T1 kontrastlos", "T1 contrast-less",
    # zero and minus
    "T1 KM minus",         "Gd-DTPA minus",
    "T1 (- KM)", "T1 ÷KM", "T1 ÷ kontrast", "T1 KM ÷", "T1 ./. Gd", "T1 Ø KM", "T1 minus contrast",
    # words
    "T1 v.KM", "T1 v. Gd", "T1 avt gado", "T1 avt. gado", "T1 sine KM", "T1 wout contrast", "T1 w/out Gd",
      "T1 contrast omitted", "uten kontrast", "uten KM", "uten Gd",
    "T1 contrast not possible", "Gd-DTPA - none", "T1 KM (ohne) fs", "T1 Gd; none", "T1 ohne 10 ml KM",
    "T1 vor 10 ml Gadovist", "T1 avant 10 ml gado", "T1 sans produit de contraste", "T1 s/ contr.", "T1 utan kontr",
    "T1 w.o. contrast", "T1 w-o GAD", "T1 w_o_Gd", "T1 bez KM", "T1 unenh", "T1_nat",
    "t1_mprage_p2_C-", "t1_p2_KM-", "T1 KM not", "T1 kontrast nei", "T1 KM nein fs", "T1 no 10 ml Gd",
    "T1_Gd_0_ml_-FS",
    "t1_320o.KM", "T1_p2o.KM", "t1_vibe_3s.mdc", "T1_256u.kontrast", "T1_5C-", "T1 no 7.5 ml Gd",
    "T1 foere kontrast", "T1 neg contrast", "T1 negativ KM", "T1 ante Gd", "T1 bedoone made hajeb", "T1 ghable tazrigh",
    "T1 pish az tazrigh", "T1 bedune madde hajeb", "T1 basali", "T1 dirette", "T1 basales", "T1 natif", "T1 blanko",
    "T1 precontr", "T1 simples", "T1 w/o GBCA", "T1 w/o dye", "T1 uden kontrastindgift", "T1 pas gado",
    "T1 ohne KM wegen Allergie", "T1 no contrast - allergy", "T1 nativ abgebrochen", "oh\u00adne KM",
)  # fmt: skip

GIVEN = (
    "T1 FS(-)_KM", "T1_FS(-)_Gd_tra", "T1 fs (-) Gd", "T1 MT (-) Gd", "MTC(-)_KM", "T1 SPIR(-) Gd", "T1 FS(-)GD",
    "AX T1 S to I GAD", "T1 S/A GD", "T1 Z to A Gd", "T1 F-H Gd", "T1 R to L GAD",
    "T1 bi-contrast", "T1 BI-INJ", "T1 bi Gd", "T1 compare prior contrast", "T1 prior contrast study",
    "T1 Gd 0ml flush", "T1 Gd delay 0 ml/s", "T1 KM TE:0", "T1 post Gd TI=0", "T1 Gd=0.1", "T1 Gd 10 ml",
    "T1W_3D_TFE_GD SENSE", "T1W_SE_KM SENSE", "CE SENSE", "T1W_3D_TFE SENSE GD", "T1 SENSE KM", "T1 cs-sense Gd",
    "t1w_3d_tfe sense gd", "T1 GD CS SENSE",
    "T1 KM no fs", "T1 Gd no fs", "T1 KM nicht fs", "T1 KM ohne FS tra", "T1 Gd without fat sat", "T1 GD NON FS",
    "T1 gado sans sat", "T1 no fs Gd", "T1 ohne FS KM", "T1 Gd no motion", "T1 KM nie wieder", "T1 FS PRIOR POST GD",
    "T1 3D KM - sag", "T1 post - KM", "AX T1 FS - C+", "AX T1 - +C", "AX - T1 - con KM",
    "T1 - Gd", "T1 - KM", "T1 \N{EN DASH} Gd", "AX T1 - GADO", "3D T1 - INJECTION", "SAG T1 - CONTRAST",  # a dash
    "AX T1 GD -FS", "T1 KM -sag", "T1 KM -tra", "3D T1 GADO -MPR", "AX T1 +C -FS",  # the sign of another word
    "T1 GAD zero TE", "T1 KM zero fill", "T1 KM free breathing",
    "T1 na het contrast", "T1 dopo la somministrazione di mdc",
    # a hyphen behind T1w
    "T1w-Gd", "T1W-KM", "T1W-CE", "T1W-GADO", "T1W-CONTRAST", "T1W-INJ", "T1W-GD-FS", "T2w-Gd", "PDw-Gd", "3D-T1W-Gd",
    "sag_T1w-Gd", "T1w-mprage-gd", "T1W-C+",
    # the sign of another word
    "T1 FS- KM+", "T1 FS- C+", "T1 FS- KM", "T1_FS-_Gd", "T1 MT- GAD", "T1 SPAIR- GD", "MTC- Gd", "T1 FS+ KM",
    "T1 MT+ C+", "T1 FS-/C+", "T1 STIR- KM", "T1 Gd_FS-", "FS- T1 Gd",
    # directions
    "T1 I-S GD", "T1 I/S GD", "T1 I to S GAD", "T1 A-S GD", "T1 P-S KM", "T1 E-F GD", "T1 F>H Gd", "T1 A/P Gd",
    "T1 P to A KM", "T1 R/L KM", "T1 Gd S-I",
    # numbers
    "T1 GD no 2", "T1 KM no1", "T1 No 2 KM", "T1 no. 2 Gd", "T1 KM Nr. 2", "T1 GD n1", "T1_KM_001", "T1_KM_12.01.2020",
    "T1 KM 10:00", "T1_KM_0.8mm", "T1 Gd 0.1 mmol", "T1 Gd 0.2 ml/kg", "T1 Gd 10 ml fs",
    # a dash
    "T1--KM", "AX-T1--GD", "AX T1 --Gd", "T1(sag)-KM", "T1 (3D)-GD", "T1 [sag]-GD", "AX T1:-GD", "T1 tra.-KM",
    "T1*-GD", "T1->KM", "T1 => Gd", "T1 — Gd",
    # other
    "T1 Gd, uten fs", "T1 C+ no FS", "T1 KM ohne Artefakt", "T1 GD free-breathing", "T1 KM freeze", "T1 post NO FS",
    "T1 m. Gd",
    "T1 s2 KM", "T1 h/o Gd", "T1 r/o MS GD", "t1_p2_KM",
    "post KM- T1", "T1 nach KM-",
    "T1 SS-TSE Gd", "T1 SS POST GAD", "T1_KM_0-10", "T1 KM 0 min", "T1 KM 0s", "T1 0 60 KM", "0_MPRAGE_KM",
    "T1 pas az tazrigh", "T1 pas az gado", "T1 ba made hajeb", "T1 kontrastförstärkt", "T1 post GBCA",
    "T1 GD LESS NOISE", "SAG T1 +C SPINE", "T1_p2C+",
)  # fmt: skip

UNSTATED = (
    "T1 ohne KM / KM", "T1 ohne KM, KM", "T1 pre Gd/Gd", "T1 non contrast/contrast", "T1 contrast/non contrast",
    "T1 ohne KM/mit KM",
    "T1 sense Gd", "T1 sense gado", "T1 sense mdc", "Sense Gd T1", "SENSE GADO",  # Catalan, or parallel imaging
    "AX T1 - C", "T1 Gd -", "T1 KM \N{EN DASH}", "t1_mpr_sag_KM_-",  # a minus or a dash
    "T1 Gd (-) fs", "T1 Gd (-)fs",  # denies one of both
    "T1 post KM nicht gegeben",
    # denies the agent, or something else
    "T1 KM ohne tra", "T1_KM_ohne_tra", "T1 gado sans 3D", "T1 contrast without 3D", "T1 ohne tra KM", "T1 ohne 3D KM",
    "sense Gd", "T1 TRA S GD", "T1 f KM", "male F KM", "T1 KM frei tra", "T1 KM 0 tra",
    "T1 Kontrast wurde nicht gegeben", "T1 av gado", "T1 contrast n/a",
    # a minus or a hyphen
    "T1_-KM", "T1_-Gd", "KM- T1", "GD- T1", "KM-_T1", "T1: -Gd", "T1w_-Gd",
    # both
    "T1 C+/C-", "T1 C-/C+", "T1 KM+/-", "T1 KM+/- fs", "T1 Gd +/-", "T1 -/+ KM", "T1 +C/-C", "T1 KM+ KM-",
    "T1 o.+m. KM", "T1 o. u. m. KM", "T1 m. u. o. KM", "T1 m + o KM", "T1 o/m KM", "T1 u/m kontrast",
    "T1 m/u kontrast", "T1 z/m contrast", "T1 S/A GADO", "T1 s/a inj", "T1 s/c contraste", "T1 c/s contraste",
    "T1 s y c contraste", "T1 c/ e s/ contraste", "T1 sin/con", "T1 con/sin", "T1 senza/con mdc", "T1 sans/avec",
    "T1 sans/avec inj", "T1 uten/med kontrast", "T1 uten og med kontrast", "T1 før/etter kontrast", "T1 v/n KM",
    "T1 ohne+mit KM", "T1 W+WO", "T1 WO/W GAD",
    # a question
    "T1 KM?", "T1 mit KM?", "T1 KM falls noetig", "T1 Gd if needed", "T1 contrast allergy",
    # neither
    "T1 C1-C7", "SAG T1 C- SPINE", "T1 p C-spine", "T1W-C", "T1 post trauma", "T1 after biopsy", "T1 edge enhancement",
    "T1 free breathing", "T1 0", "T1 no. 3", "T1 uten fs", "T1w-mprage",
    # denials of rare form
    "T1 KM vor", "T1 Gd before", "T1 KM vorher", "T1 KM cancelled", "T1 Gd failed", "T1 KM kontraindiziert",
    "T1 gado contre-indiqué", "T1 mdc controindicato", "T1 kontrast udgår", "T1 Gd to follow", "T1 p C-",
    "T1 +C- FS", "T1 KM + C-", "T1 ohne KM & KM", "T1 mit KM & KM-", "T1 +C/o. KM",
    # a zero, seconds or single shot
    "T1 Gd 0", "T1 KM 0", "KM0", "T1 Gd0", "0 Gd", "T1 0 Gd", "T1 (0 Gd)", "T1 KM 0.0",
    "T1 ss gado", "T1 ss PDC", "T1 2s KM", "T1 5s Gd",
    "T1 W/O C SPINE", "T1 GD failed", "T1 kontrast fri",
)  # fmt: skip
