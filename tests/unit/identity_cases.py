"""Cases of the search for identities. The browser of a site and the reading centre have the same answers.

Each case: elements that identify, the element that is searched, its text.
"""

DESCRIPTION, MODEL, SOFTWARE = "SeriesDescription", "ManufacturerModelName", "SoftwareVersions"

FOUND = (
    # names: in any order, next to digits, glued, with capitals, in other spellings
    *(({"PatientName": name}, DESCRIPTION, text) for name, text in (
        ("Kim^Jae", "T1kim"), ("Kim^Jae", "kim1"), ("Kim^Jae", "T1 jae"), ("Kim^J", "KimJ_t1"), ("Kim^J", "KIMJ_T1"),
        ("Kim^J", "t1_jkim"), ("Li^Na", "t1LiNa"), ("Li^Na", "LiNaT1"), ("Li^Na", "T1 NALI"), ("Li^Na", "Na Li"),
        ("Miller^Tim^E", "tim_e"), ("Miller^Tim^E", "Tim"), ("Ge^Ma", "ma.ge"), ("Müller-Jöns^Søren", "flair Joens"),
        ("Müller-Jöns^Søren", "soren2"), ("Post^Anna", "t1 post"), ("Neuro^Anna", "t1 neuro"), ("Vida^Anna", "vida t1"),
        ("王^丽", "T1丽王头"), ("Per^Olsen", "t2 PER"), ("Tra^Ns", "trans"), ("Ma^In", "main t1"), ("Vi^Da", "vida t1"),
        ("Li^Near", "linear"), ("An^Gio", "angio"),
    )),
    ({"OtherPatientNames": "Kim^Jae"}, DESCRIPTION, "T1kim"),
    ({"PatientMotherBirthName": "Tor"}, DESCRIPTION, "tor 1"),
    ({"OperatorsName": "Schmidt^A"}, DESCRIPTION, "flair SCHMIDT"),
    ({"OperatorsName": "Post^Maria"}, DESCRIPTION, "Maria"),
    ({"OperatorsName": "Post^Maria"}, DESCRIPTION, "Maria Post"),
    ({"OperatorsName": "Sola^Maria"}, DESCRIPTION, "t1 Sola"),
    ({"InstitutionName": "UZA"}, DESCRIPTION, "uza t1"),
    ({"InstitutionName": "Premier Imaging Center"}, DESCRIPTION, "Premier Imaging Center"),
    ({"InstitutionName": "Vision Titan"}, DESCRIPTION, "Titan t1"),
    ({"InstitutionName": "Sint-Jan"}, DESCRIPTION, "Sint Jan"),
    ({"PersonName": "Post"}, DESCRIPTION, "t1 Post"),
    ({"StudyID": "Frau Post"}, DESCRIPTION, "t1 post"),
    ({"StudyID": "TRIAL 4711999"}, DESCRIPTION, "t1 4711999"),
    *(({"PatientComments": comment}, DESCRIPTION, text) for comment, text in (
        ("Mr Post", "t1 Post"), ("Mrs North", "North t1"), ("Stern Post", "t1 post"), ("Pat. 2381", "t1 2381"),
        ("Vida", "vida t1"),
    )),
    ({"InstitutionName": "Brain Centre Musterstadt"}, DESCRIPTION, "t1_Musterstadt"),
    ({"PatientName": "Muster^Erika"}, MODEL, "Vida Muster"),
    # numbers: in any grouping, next to digits, without zeros
    *(({"PatientID": number}, DESCRIPTION, text) for number, text in (
        ("123456", "x0123456"), ("123456", "9123456"), ("123456", "T1 123.456"),
        ("12345", "a12345b"), ("12345", "t1_12345"),
        ("2019-345678", "345678_t1"), ("KIS-000123456", "T1 123456"), ("AB123456", "AB-123456"), ("A12", "t1 A12"),
        ("12-34", "12_34"), ("A12-3", "A12 3"), ("MS-012", "MS 012"), ("T1-3D", "t1_3d"),
    )),
    ({"RequestedProcedureID": "4711999"}, DESCRIPTION, "T24711999"),
    # dates
    *(({"PatientBirthDate": "19640812"}, element, text) for element in (DESCRIPTION, SOFTWARE) for text in (
        "120864", "640812", "081264", "12081964", "64AUG12", "64-Aug-12", "AUG1264", "1964 0812",
        "1964 Aug 12", "Aug 12 1964",
        "Aug 12th of 1964",
        "August 12 of 1964", "12. kolovoza 1964", "12 rugpjucio 1964", "1964 m. rugpjūčio 12", "12. augusts 64",
        "12 Ağustos 1964",
        "12 sierpnia 1964", "12. srpna 1964", "12. august 1964", "12 août 1964", "12 agosto 1964", "12 Lúnasa 1964",
        "12 августа 1964", "12. аугуст 1964", "12 серпня 1964", "12 Αυγούστου 1964", "12.VIII.64", "12/8/64",
        "1964年8月12日",
    )),
    ({"PatientBirthDate": "19640412"}, DESCRIPTION, "12 travnja 1964"),
    ({"PatientBirthDate": "19641012"}, DESCRIPTION, "12. listopada 1964"),
    ({"PatientBirthDate": "19640112"}, DESCRIPTION, "12 sijecnja 64"),
    ({"PatientBirthDate": "19640412"}, DESCRIPTION, "12 balandzio 1964"),
    ({"PatientBirthDate": "19640512"}, DESCRIPTION, "May 12 of 1964"),
)  # fmt: skip

NOT_FOUND = (
    # words of departments, physicians and operators that are words of protocols and scanners
    ({"InstitutionalDepartmentName": "MRT Skyra"}, MODEL, "MAGNETOM Skyra"),
    ({"InstitutionAddress": "Institute of Neuroscience, Brain Building, Main Street 5"}, DESCRIPTION, "Brain MS"),
    ({"ReferringPhysicianAddress": "Neuro Clinic, Church Street"}, DESCRIPTION, "neuro t1"),
    ({"RequestedProcedureID": "MR BRAIN 7"}, DESCRIPTION, "brain flair"),
    ({"StudyID": "BRAIN MS 3T"}, DESCRIPTION, "brain flair"),
    *(({"PatientComments": comment}, DESCRIPTION, text) for comment, text in (
        ("Baseline", "baseline t1"), ("Contrast", "t1 contrast"), ("MS study week 12", "study flair"),
    )),
    # initials with points, and short numbers with signs
    ({"ReferringPhysicianName": "Jansen^M.R."}, DESCRIPTION, "MR Brain"),
    ({"OperatorsName": "Jansen^T.E."}, DESCRIPTION, "t1 TE 100"),
    *(({"PatientName": name}, DESCRIPTION, "MS protocol") for name in ("M.S.", "M-S", "M^S")),
    ({"InstitutionalDepartmentName": "Servicio R.M."}, DESCRIPTION, "RM cerebro"),
    ({"PatientID": "2-5"}, DESCRIPTION, "t2 2.5 mm"),
    ({"StudyID": "1-1"}, DESCRIPTION, "flair 1.1"),
    ({"InstitutionalDepartmentName": "MRT Skyra"}, DESCRIPTION, "skyra fit t1"),
    ({"OperatorsName": "Sola^Maria"}, MODEL, "MAGNETOM Sola"),
    ({"PatientName": "Vida^Maria"}, MODEL, "MAGNETOM Vida"),
    ({"PatientName": "Fit^Prisma"}, MODEL, "Prisma_fit"),
    ({"InstitutionName": "Brain Imaging Centre"}, DESCRIPTION, "t1_brain_sag"),
    ({"InstitutionalDepartmentName": "Neuro"}, DESCRIPTION, "Neuro^Head"),
    ({"InstitutionalDepartmentName": "Radiologie"}, DESCRIPTION, "radiologie t1"),
    ({"RequestedProcedureID": "BRAIN W CONTRAST"}, DESCRIPTION, "t1 contrast"),
    ({"RequestedProcedureID": "BRAIN W CONTRAST"}, DESCRIPTION, "BRAIN W CONTRAST"),
    ({"PatientComments": "post contrast MS follow-up"}, DESCRIPTION, "t1_mprage_sag_post"),
    ({"OperatorsName": "COR"}, DESCRIPTION, "t1_cor"),
    ({"OperatorsName": "Post^W"}, DESCRIPTION, "t1 post"),
    ({"ReferringPhysicianName": "Traa^Jan"}, DESCRIPTION, "t2_flair_tra"),
    ({"InstitutionAddress": "1000 Brussels"}, DESCRIPTION, "ep2d_diff_b_1000"),
    ({"PatientAddress": "Kerkstraat 320 B"}, DESCRIPTION, "t1_fl3d_320"),
    ({"PatientAddress": "Pre 4"}, DESCRIPTION, "t1 pre"),
    ({"PatientTelephoneNumbers": "0471 512 320"}, DESCRIPTION, "t2_tse_tra_512"),
    ({"PatientID": "MS12 100"}, DESCRIPTION, "t1 100"),
    ({"IssuerOfPatientID": "1234"}, DESCRIPTION, "t1 1234"),
    *(({"PatientBirthDate": birth}, DESCRIPTION, text) for birth, text in (
        ("19640402", "t2_tra_64"), ("19640402", "2D TRA 64sl"), ("19641001", "t1_space_64"), ("19640201", "64 sub 1"),
        ("19640612", "12 cervical 64"), ("19640403", "FLAIR 3 TRA 64"), ("19641003", "3D SPACE 64"),
    )),
    # parts of words, and glued pairs that are words
    *(({"PatientName": name}, DESCRIPTION, text) for name, text in (
        ("Ge^Ma", "t2_image"), ("Miller^Tim^E", "time_course"), ("Miller^Tim^E", "real time"), ("Co^R", "t1_cor"),
        ("Kim^Jae", "kimono"), ("Li^Na", "linear final Li"), ("Li", "T1 Li"),
        ("Imag^Eva", "t2_image"),
        ("Ann^Li", "channel"), ("Per^Olsen", "perfusion"),
    )),
    # other numbers and dates
    *(({"PatientID": number}, DESCRIPTION, text) for number, text in (
        ("123456", "1234 567"), ("12345", "912345"), ("123", "t2 1234"), ("A12", "BA123"),
    )),
    *(({"PatientBirthDate": "19640812"}, DESCRIPTION, text) for text in (
        "v1964.8.13", "9120864", "1208640", "12 echoes TR 1964 TE 8", "64 slices 12 Aug", "12 Aug 65",
    )),
)  # fmt: skip
